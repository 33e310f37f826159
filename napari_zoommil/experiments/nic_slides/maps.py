"""Grad-CAM of slides that a CNN has not seen, against the planted tumour, beside random and density maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.annotations.regions import Region
from napari_zoommil.experiments.nic_slides.codes import encoder_name
from napari_zoommil.experiments.nic_slides.slides import CLASSES, HeldSlide
from napari_zoommil.experiments.nic_slides.trials import Extent, Trial
from napari_zoommil.experiments.run_pieces import shares_of, within
from napari_zoommil.experiments.zoom_maps.numbers import outline_beside
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs import explain
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.map_agreement import (
    CONTROLS,
    SlideAgreement,
    cohort_agreement,
    density_map,
    slide_agreement,
)
from napari_zoommil.jobs.prediction_files import overview_of
from napari_zoommil.maps.figure import Overview
from napari_zoommil.maps.localisation import Denoising, inside, random_map, tune
from napari_zoommil.maps.methods import MethodName
from napari_zoommil.slides import Slide

METHOD: MethodName = "grad-cam"
"""Of the first convolution, k = 1, without ReLU, as in the paper."""

EXAMPLES, THUMBNAIL = 3, 256

KINDS = ("", "_random", "_density")
"""Endings of the numbers of Grad-CAM, and of the controls."""

PRECISION = "average_precision"
MEASURES = ("jaccard", PRECISION, "pointing")


class Explained(NamedTuple):
    """A slide with its map and its outlines."""

    name: str
    explanation: Explanation
    regions: tuple[Region, ...]
    overview: Overview


def explained(
    told: Sequence[tuple[HeldSlide, Path]],
    trial: Trial,
    extent: Extent,
    out: Path,
    examples: Path,
    device: str,
) -> Generator[float, None, dict[str, Any]]:
    """Explain slides by the CNN of their partition; tune the denoising of each kind of map on some, compare
    the others.

    Parameters
    ----------
    told : sequence of (HeldSlide, Path)
        Slides of the partitions, with the CNN that has not seen them.

    Returns
    -------
    dict
        ``jaccard``, ``average_precision`` and ``pointing``, and the same with the endings ``_random`` and
        ``_density``; ``low`` and ``high`` of the 95 % interval of the Jaccard index; ``slides``;
        ``denoising`` of each kind of map.
    """
    tuning, testing = divided(told, extent)
    tuned: list[Explained] = []
    shown: list[Explained] = []
    agreements: dict[Path, list[SlideAgreement]] = defaultdict(list)
    how: dict[str, Denoising] = {}
    for number, (held, model) in enumerate((*tuning, *testing)):
        share, end = (each / (len(tuning) + len(testing)) for each in (number, number + 1))
        one = yield from within(_explain(held, model, trial, extent, out, device), share, end)
        if number < len(tuning):
            tuned.append(one)
            continue
        how = how or {kind: _denoising(kind, tuned) for kind in (METHOD, *CONTROLS)}
        agreements[model].append(
            slide_agreement(
                one.explanation,
                one.regions,
                denoising=how[METHOD],
                controls={kind: how[kind] for kind in CONTROLS},
                overview=one.overview,
                group=one.name,
            )
        )
        if one.regions and len(shown) < EXAMPLES:
            shown.append(one)
    _keep(examples, shown)
    summary = cohort_agreement([one for own in agreements.values() for one in own])[0]
    numbers = {
        f"{measure}{kind}": _first(summary[f"{measure}{kind}"]) for measure in MEASURES for kind in KINDS
    }
    numbers |= {f"{PRECISION}{kind}": _precision(agreements.values(), kind) for kind in KINDS}
    low, high = map(_first, summary["jaccard"][1:])
    kept = {
        "slides": len(testing),
        "with_regions": summary["with_regions"],
        "denoising": {kind: asdict(one) for kind, one in how.items()},
    }
    return {**numbers, "low": low, "high": high, **kept}


def _precision(agreements: Iterable[Sequence[SlideAgreement]], kind: str) -> float | None:
    """Mean of the CNNs' average precision: it ranks slides by their highest value, which only maps of one CNN
    have on one scale."""
    each = [_first(cohort_agreement(own)[0][f"{PRECISION}{kind}"]) for own in agreements]
    known = [one for one in each if one is not None]
    return sum(known) / len(known) if known else None


def divided(
    told: Sequence[tuple[HeldSlide, Path]], extent: Extent
) -> tuple[list[tuple[HeldSlide, Path]], list[tuple[HeldSlide, Path]]]:
    """Slides with a tumour to tune on, and slides to compare: those of the subset *test*, where it is one."""
    ordered = sorted(told, key=lambda one: one[0].slide.name.rpartition("_")[2])  # by number
    others = [one for one in ordered if not one[0].subsets]
    tuning = [one for one in others if one[0].slide.drawing.tumour][: extent.tuned]
    testing = [one for one in ordered if one[0].subsets]
    left = testing or [one for one in others if one not in tuning]
    return tuning, left[: extent.explained]


def _explain(
    held: HeldSlide, model: Path, trial: Trial, extent: Extent, out: Path, device: str
) -> Generator[float, None, Explained]:
    slide = out / extent.cohort.folder / held.slide.name
    found = yield from shares_of(
        explain(
            slide,
            str(model),
            encoder=encoder_name(out, trial.code),
            method=METHOD,
            target=CLASSES[1] if trial.task == "presence" else None,
            store=out / "features",
            device=device,
        )
    )
    with Slide.open(slide) as opened:
        overview = overview_of(opened)
    return Explained(held.slide.name, found, outline_beside(slide), overview)


def _denoising(kind: str, tuned: Sequence[Explained]) -> Denoising:
    """The best for a kind of map."""
    own = [one.explanation.shown[0] for one in tuned]
    truths = [inside(each, one.regions) for each, one in zip(own, tuned, strict=True)]
    if not any(truth.any() for truth in truths):
        return Denoising()
    rng = np.random.default_rng(0)
    if kind == "random":
        own = [random_map(each, rng) for each in own]
    elif kind == "density":
        own = [density_map(each, one.overview) for each, one in zip(own, tuned, strict=True)]
    return tune(own, truths)[0]


def _first(value: Any) -> float | None:
    number = value[0] if isinstance(value, (tuple, list)) else value
    return None if number is None or not np.isfinite(number) else float(number)


def _sides(values: NDArray[Any], origin: Pair, downsample: Pair) -> tuple[float, float, float, float]:
    (top, left), (height, width) = origin, values.shape[:2]
    return left, left + width * downsample[1], top + height * downsample[0], top


def _keep(path: Path, shown: Sequence[Explained]) -> None:
    """Small pictures, masks and maps, which slides may have of different shapes, and where they lie: left,
    right, bottom and top, level-0 px."""
    content = BytesIO()
    arrays: dict[str, Any] = {}
    for number, one in enumerate(shown):
        own = one.explanation.shown[0]
        picture = Image.fromarray(one.overview.pixels)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        arrays |= {
            f"picture{number}": np.asarray(picture),
            f"within{number}": _sides(one.overview.pixels, one.overview.origin, one.overview.downsample),
            f"map{number}": own.values,
            f"at{number}": _sides(own.values, own.origin, own.downsample),
            f"truth{number}": inside(own, one.regions),
        }
    np.savez_compressed(content, **arrays)
    make_folder(path.parent)
    write_file(path, content.getvalue())
