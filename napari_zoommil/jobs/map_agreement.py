"""Agreement of the maps of an explanation with regions: of a slide, and summarised over a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations.regions import Region
from napari_zoommil.errors import JobError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.figure import Overview
from napari_zoommil.maps.localisation import (
    Denoising,
    Localisation,
    average_precision,
    inside,
    interval,
    localise,
    mean_jaccard,
    pointing_game,
    random_map,
)
from napari_zoommil.maps.methods import METHODS

RANDOM_DRAWS = 20

Control = Literal["random", "density"]
CONTROLS: tuple[Control, ...] = ("random", "density")


@dataclass(frozen=True)
class MapAgreement:
    """One map beside its controls.

    Attributes
    ----------
    magnification : float
    denoising : Denoising
        As it was on this map.
    has_regions : bool
        Whether regions lie on the map, which may be that of a window.
    own : Localisation
    density : Localisation or None
        Of the optical density of the slide, where it is at hand: a map that knows no class.
    random : tuple of Localisation
        Of uniform noise at the same places.
    """

    magnification: float
    denoising: Denoising
    has_regions: bool
    own: Localisation
    density: Localisation | None
    random: tuple[Localisation, ...]


@dataclass(frozen=True)
class SlideAgreement:
    """The maps of an explanation beside regions.

    Attributes
    ----------
    slide, method : str
    target : str or None
        Output that the maps are of; None of a method that does not tell outputs apart.
    class_name : str
        Of the regions; empty if all count.
    maps : tuple of MapAgreement
        One per magnification.
    group : str
        Such as the patient.
    window : bool
        Whether the maps are of a part of the slide.
    """

    slide: str
    method: str
    target: str | None
    class_name: str
    maps: tuple[MapAgreement, ...]
    group: str = ""
    window: bool = False

    @property
    def facts(self) -> list[dict[str, Any]]:
        """For JSON, an entry per magnification."""
        return [
            {
                "method": self.method,
                "target": self.target,
                "magnification": one.magnification,
                "denoising": asdict(one.denoising),
                "jaccard": _known(one.own.jaccard),
                "jaccard_random": _known(mean_jaccard(one.random)),
                "jaccard_density": _known(one.density.jaccard) if one.density else None,
                "maximum": _known(one.own.maximum),
                "maximum_at": list(one.own.place) if one.own.place else None,
                "pointing_hit": one.own.hit if one.own.present else None,
                "pointing_random": one.own.share,
                "regions": one.own.present,
                "regions_on_the_map": one.has_regions,
            }
            for one in self.maps
        ]

    @property
    def sentence(self) -> str:
        """The numbers of the map of each magnification, for the user."""
        if not any(one.own.present for one in self.maps):
            return "no region of the class on this slide: its maximum counts as a false positive"
        if self.window and not any(one.has_regions for one in self.maps):
            return (
                "no region of the class in this window, but elsewhere on the slide: its maximum lies outside"
            )
        return "; ".join(map(_sentence, self.maps))


def _sentence(one: MapAgreement) -> str:
    at = {1.0: "inside", 0.0: "outside"}.get(one.own.hit, f"inside at {one.own.hit:.0%} of its places")
    hit = f"its maximum lies {at}"
    return (
        f"Jaccard {one.own.jaccard:.2f} at {magnification_name(one.magnification)} (random "
        f"{mean_jaccard(one.random):.2f}"
        + (f", stain density {one.density.jaccard:.2f}" if one.density else "")
        + f"), {hit} (a random place: {one.own.share:.0%})"
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def slide_agreement(
    explanation: Explanation,
    regions: Sequence[Region],
    *,
    class_name: str = "",
    denoising: Denoising = Denoising(),  # noqa: B008 (frozen)
    controls: Mapping[Control, Denoising] = MappingProxyType({}),
    overview: Overview | None = None,
    group: str = "",
) -> SlideAgreement:
    """Compare the maps of the explained output with regions.

    Parameters
    ----------
    explanation : Explanation
    regions : sequence of Region
        Level-0 (y, x), all of the slide, also those outside the window that is explained; none of a slide
        without the class.
    denoising : Denoising
    controls : dict of {"random", "density"} to Denoising
        Of the control maps, where it was tuned for each kind of map; else that of the maps.
    overview : Overview, optional
        A small picture of the slide, for the map of stain density.
    """
    rng, window, maps = np.random.default_rng(0), explanation.focus.window is not None, explanation.shown

    def compared(one: HeatMap) -> MapAgreement:
        truth = inside(one, regions)

        def told(shown: HeatMap, how: Denoising = denoising) -> Localisation:
            found = localise(shown, truth, how.on(one.values.shape), present=bool(regions))
            # in a window without regions there is nothing that could overlap
            return replace(found, jaccard=float("nan")) if window and not truth.any() else found

        of_random, of_density = (controls.get(kind, denoising) for kind in CONTROLS)
        random = tuple(told(random_map(one, rng), of_random) for _ in range(RANDOM_DRAWS))
        density = None if overview is None else told(density_map(one, overview), of_density)
        how = denoising.on(one.values.shape)
        return MapAgreement(one.magnification, how, bool(truth.any()), told(one), density, random)

    return SlideAgreement(
        explanation.prediction.slide,
        explanation.method,
        maps[0].target,
        class_name,
        tuple(map(compared, maps)),
        group or explanation.prediction.slide,
        window,
    )


def require_one_output(model: str, method: str, target: str | None) -> None:
    """Refuse to summarise maps of whatever output was predicted of each slide.

    Raises
    ------
    JobError
        If no output is named, and the method tells those of the model apart.
    """
    from napari_zoommil.jobs.explain import attentions
    from napari_zoommil.models.spec import read_spec

    names = read_spec(model).task.names
    apart = method in METHODS and METHODS[method].per_output
    apart |= method == "attention" and any(one is not None for _, one in attentions(model))
    if target is None and apart and len(names) > 1:
        raise JobError(
            "maps of several slides are compared with regions for one output; name it with --target, one "
            f"of {', '.join(names)}"
        )


def density_map(one: HeatMap, overview: Overview) -> HeatMap:
    """A control: the mean optical density of the slide at each value that a map knows."""
    light = overview.pixels.astype(np.float64).mean(2)
    density = -np.log((light + 1) / 256)
    values = _means(density, overview, one)
    return replace(one, values=np.where(np.isfinite(one.values), values, np.nan).astype(np.float32))


def _means(density: NDArray[np.float64], overview: Overview, one: HeatMap) -> NDArray[np.float64]:
    """(h, w) mean over the pixels of each value, by sums along both axes."""
    total = np.pad(density, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    ends = []
    for axis in (0, 1):
        edges = one.origin[axis] + np.arange(one.values.shape[axis] + 1) * one.downsample[axis]
        pixels = (edges - overview.origin[axis]) / overview.downsample[axis]
        low = np.floor(pixels[:-1] + 0.5).clip(0, density.shape[axis] - 1).astype(int)
        high = np.maximum(np.floor(pixels[1:] + 0.5).clip(0, density.shape[axis]).astype(int), low + 1)
        ends.append((low, high))
    (top, bottom), (left, right) = ends
    area = np.outer(bottom - top, right - left)
    sums = (
        total[np.ix_(bottom, right)]
        - total[np.ix_(top, right)]
        - total[np.ix_(bottom, left)]
        + total[np.ix_(top, left)]
    )
    means: NDArray[np.float64] = sums / area
    return means


def cohort_agreement(slides: Sequence[SlideAgreement]) -> list[dict[str, Any]]:
    """Means over slides with bootstrap intervals by group, for each method, output and magnification."""
    keys = dict.fromkeys((one.method, one.target, part.magnification) for one in slides for part in one.maps)
    return [_summary(*key, slides) for key in keys]


def _summary(
    method: str, target: str | None, magnification: float, slides: Sequence[SlideAgreement]
) -> dict[str, Any]:
    pairs = [
        (one.group, part)
        for one in slides
        for part in one.maps
        if (one.method, one.target, part.magnification) == (method, target, magnification)
    ]
    positive = [(group, part) for group, part in pairs if part.own.present]
    groups = [group for group, _ in positive]
    draws = range(RANDOM_DRAWS)
    return {
        "method": method,
        "target": target,
        "magnification": magnification,
        "slides": len(pairs),
        "with_regions": len(positive),
        "groups": len(set(groups)),
        "jaccard": interval([part.own.jaccard for _, part in positive], groups),
        "jaccard_random": interval([mean_jaccard(part.random) for _, part in positive], groups),
        "jaccard_density": interval(
            [part.density.jaccard if part.density else float("nan") for _, part in positive], groups
        ),
        "average_precision": average_precision(part.own for _, part in pairs),
        "average_precision_random": float(
            np.mean([average_precision(part.random[n] for _, part in pairs) for n in draws])
        ),
        "average_precision_density": average_precision(
            part.density for _, part in pairs if part.density is not None
        ),
        "pointing": interval([float(part.own.hit) for _, part in positive], groups),
        "pointing_random": float(np.mean([part.own.share for _, part in positive])) if positive else None,
        "pointing_density": pointing_game(part.density for _, part in pairs if part.density is not None),
    }


def cohort_text(summaries: Sequence[dict[str, Any]]) -> str:
    """:func:`cohort_agreement` as a table."""
    lines = [
        "method, output, magnification: Jaccard (random, stain density); average precision; pointing game"
    ]
    for one in summaries:
        mean, low, high = one["jaccard"]
        hit, from_, to = one["pointing"]
        parts = (one["method"], one["target"], magnification_name(one["magnification"]))
        name = ", ".join(filter(None, parts))
        lines.append(
            f"{name}, {one['with_regions']} of {one['slides']} slides: "
            f"{mean:.3f} [{low:.3f}, {high:.3f}] ({one['jaccard_random'][0]:.3f}, "
            f"{one['jaccard_density'][0]:.3f}); {one['average_precision']:.2f} "
            f"({one['average_precision_random']:.2f}); {hit:.2f} [{from_:.2f}, {to:.2f}] "
            f"({one['pointing_random'] or 0:.2f})"
        )
    return "\n".join(lines)
