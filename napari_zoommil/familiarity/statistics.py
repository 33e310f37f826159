"""Statistics of the patches that a model was trained on, by magnification, and how others compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.familiarity.descriptors import LEAST_EDGE
from napari_zoommil.familiarity.gaussian import Gaussian
from napari_zoommil.familiarity.nearest import Nearest
from napari_zoommil.familiarity.verdict import FEWEST_COMPARED, Verdict

STAINED_SHARES = (0.0, 0.1, 0.2, 0.4, 0.7)
"""From which share of stained pixels on a patch has a limit of its own: numbers of few pixels vary more."""

PERCENTILE = 99.0
"""Of the distances of held-out training patches: the limit."""

OF_GROUPS = 90.0
"""Of the distances to the nearest patch of another group: the limit, without :data:`MARGIN`, since what lies
between groups is in it already."""

MARGIN = 1.25
"""Times the limit from which on a patch is unlike: training slides are never all there is of a kind."""

FEWEST_IN_BIN = 50
"""Held-out patches that a limit of their own needs."""

FEWEST = 150
"""Patches of a magnification without which no statistics are kept."""

FOLDS = 6
"""Parts of the training slides, each of which is held out once."""

USUAL = 0.975
"""Share of the held-out slides that the limit of a slide is above."""

ALLOWANCE = 0.05
"""Added to what held-out slides have, since they are few."""

LEAST_LIMIT = 0.25
"""Share of unlike patches up to which no slide is called unlike."""

MOST_LIMIT = 0.5
"""Share of unlike patches above which every slide is, however little the training slides have in common."""

MOST_TRAININGS = 8
"""Later trainings that are remembered."""

Numbers = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches of a slide at one magnification.

    Attributes
    ----------
    descriptors : (n, D) float32
        Of :func:`~napari_zoommil.familiarity.descriptors.describe`; NaN for glass.
    features : (n, F) float32
        Of the encoder; F = 0 where there is none.
    of : int
        How many patches these are a sample of.
    """

    descriptors: Numbers
    features: Numbers
    of: int

    @property
    def stained(self) -> Patches:
        """Those that are not of glass; ``of`` shrinks alike."""
        kept = ~np.isnan(self.descriptors[:, 0])
        return Patches(
            self.descriptors[kept],
            self.features[kept],
            round(self.of * float(kept.mean())) if len(kept) else 0,
        )

    @property
    def kinds(self) -> tuple[Numbers, ...]:
        """The numbers to compare, each kind by itself."""
        return (self.descriptors, self.features)[: 1 + bool(self.features.shape[1])]

    @property
    def bins(self) -> NDArray[np.int64]:
        """(n,) by their share of stained pixels."""
        return np.digitize(self.descriptors[:, 0], STAINED_SHARES).astype(np.int64) - 1


@dataclass(frozen=True, eq=False)
class SlideSample:
    """Patches of a slide at each magnification.

    Attributes
    ----------
    group : str
        Slides of a group, such as a patient, are held out together.
    levels : tuple of Patches
    """

    group: str
    levels: tuple[Patches, ...]


@dataclass(frozen=True, eq=False)
class Reference:
    """What the patches of one magnification were like.

    Attributes
    ----------
    measures : tuple of Gaussian or Nearest
        Distance of each kind of numbers.
    limits : (kinds, bins) float32
        Distance that :data:`PERCENTILE` of the held-out patches did not exceed, by share of stained pixels.
    others : tuple of Reference
        Of later trainings of the same model: what is like any of them is known.
    """

    measures: tuple[Gaussian | Nearest, ...]
    limits: Numbers
    others: tuple[Reference, ...] = ()

    def strangeness(self, patches: Patches) -> Numbers:
        """(n,) distances as multiples of the limit, the largest of all kinds of numbers; NaN for glass."""
        bins = patches.bins
        ratios = [
            measure.distances(numbers) / limits[bins]
            for measure, numbers, limits in zip(self.measures, patches.kinds, self.limits, strict=True)
        ]
        found: Numbers = np.min(
            [np.max(ratios, axis=0), *(one.strangeness(patches) for one in self.others)], 0
        )
        return found


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What a model was trained on.

    Attributes
    ----------
    mpps : tuple of float
        Resolution of each magnification, µm/px.
    patch_size : int
        px.
    encoder_hash : str
        Of the features; empty where there are none.
    levels : tuple of Reference
    shares : tuple of float
        Share of unlike patches of each held-out slide.
    """

    mpps: tuple[float, ...]
    patch_size: int
    encoder_hash: str
    levels: tuple[Reference, ...]
    shares: tuple[float, ...]

    @property
    def limit(self) -> float:
        """Share of unlike patches above which a slide is unlike what the model was trained on."""
        usual = float(np.quantile(self.shares, USUAL, method="higher")) if self.shares else 0.0
        return float(np.clip(usual + ALLOWANCE, LEAST_LIMIT, MOST_LIMIT))

    def after(self, later: Familiarity) -> Familiarity:
        """What is known after another training of the same model, on patches of the same kind."""
        levels = tuple(
            replace(own, others=(*own.others, new)[-MOST_TRAININGS:])
            for own, new in zip(self.levels, later.levels, strict=True)
        )
        return replace(self, levels=levels, shares=self.shares + later.shares)

    def verdict(self, levels: Sequence[Patches]) -> Verdict:
        """What can be said of a slide, by a sample of its patches at each magnification."""
        share, count = share_unlike(self.levels, levels)
        return Verdict("known", share, self.limit, count)


def share_unlike(references: Sequence[Reference], levels: Sequence[Patches]) -> tuple[float, int]:
    """Share of a slide's patches that are unlike, each magnification counted by its patches; how many were
    compared."""
    unlike, weight, count = 0.0, 0, 0
    for reference, patches in zip(references, levels, strict=True):
        known = patches.stained
        if len(known.descriptors):
            unlike += known.of * float((reference.strangeness(known) > MARGIN).mean())
            weight, count = weight + known.of, count + len(known.descriptors)
    return (unlike / weight if weight else 0.0), count


def fitted(
    slides: Sequence[SlideSample],
    held_out: Sequence[SlideSample] = (),
    *,
    mpps: Sequence[float],
    patch_size: int,
    encoder_hash: str = "",
    many_kinds: bool = False,
) -> Familiarity | None:
    """Statistics of the patches of training slides; None where these are too few, or too small.

    Each part of the slides is held out once, for the limits of distances and for the shares of unlike
    patches; slides of ``held_out`` add shares, and slides of a few patches have none if there are others.
    With ``many_kinds`` of tissue, which at least two groups make, the distance is that to the nearest patch,
    and its limit is of patches of a group to those of the others.
    """
    stained = [SlideSample(one.group, tuple(level.stained for level in one.levels)) for one in slides]
    count = len(mpps)
    enough = all(
        sum(len(one.levels[level].descriptors) for one in stained) >= FEWEST for level in range(count)
    )
    if not enough or patch_size < LEAST_EDGE:
        return None
    fit = _of_many_kinds if many_kinds else _reference
    levels, strange = zip(
        *(fit([one.levels[level] for one in stained], _folds(stained, many_kinds)) for level in range(count)),
        strict=True,
    )
    sizes = [sum(len(level.descriptors) for level in one.levels) for one in stained]
    shares = [
        _share([found[place] for found in strange], [level.of for level in one.levels])
        for place, one in enumerate(stained)
        if sizes[place] >= min(FEWEST_COMPARED, max(sizes))
    ]
    shares += [share_unlike(levels, one.levels)[0] for one in held_out]
    return Familiarity(tuple(map(float, mpps)), patch_size, encoder_hash, levels, tuple(shares))


def _folds(slides: Sequence[SlideSample], each_group: bool) -> list[int]:
    """Number of the part that each slide belongs to; slides of a group belong to the same."""
    groups = list(dict.fromkeys(one.group for one in slides))
    return [groups.index(one.group) % (len(groups) if each_group else FOLDS) for one in slides]


def _reference(slides: Sequence[Patches], folds: Sequence[int]) -> tuple[Reference, list[Numbers]]:
    """The statistics of one magnification, and of each slide how strange its patches are when held out.

    Limits are those of held-out patches of the training slides, shares those of held-out slides: so these
    tell how much slides differ.
    """
    together = _joined(slides)
    owner = np.repeat(np.arange(len(slides)), [len(one.descriptors) for one in slides])
    by_patch = np.arange(len(owner)) % FOLDS
    by_slide = np.asarray(folds)[owner] if len(set(folds)) > 1 else by_patch
    gaussians, limits, ratios = [], [], []
    bins = together.bins
    for numbers in together.kinds:
        limits.append(_limits(_held_out(Gaussian, numbers, by_patch), bins, PERCENTILE))
        ratios.append(_held_out(Gaussian, numbers, by_slide) / limits[-1][bins])
        gaussians.append(Gaussian.fitted(numbers))
    return _told(slides, Reference(tuple(gaussians), np.stack(limits)), ratios)


def _of_many_kinds(slides: Sequence[Patches], folds: Sequence[int]) -> tuple[Reference, list[Numbers]]:
    """The same, by the distance to the nearest patch of another group."""
    together = _joined(slides)
    by_group = np.repeat(folds, [len(one.descriptors) for one in slides])
    nearest, limits, ratios = [], [], []
    for numbers in together.kinds:
        distances = _held_out(Nearest, numbers, by_group)
        limits.append(_limits(distances, together.bins, OF_GROUPS) / np.float32(MARGIN))
        ratios.append(distances / limits[-1][together.bins])
        nearest.append(Nearest.fitted(numbers))
    return _told(slides, Reference(tuple(nearest), np.stack(limits)), ratios)


def _told(
    slides: Sequence[Patches], reference: Reference, ratios: Sequence[Numbers]
) -> tuple[Reference, list[Numbers]]:
    """A reference, and how strange the patches of each slide are by the kind that is strangest."""
    ends = np.cumsum([len(one.descriptors) for one in slides])[:-1]
    return reference, np.split(np.max(ratios, axis=0), ends)


def _held_out(measure: type[Gaussian] | type[Nearest], numbers: Numbers, fold: NDArray[np.int64]) -> Numbers:
    """(n,) distances of each part's rows from the others."""
    distances = np.empty(len(numbers), np.float32)
    for part in np.unique(fold):
        distances[fold == part] = measure.fitted(numbers[fold != part]).distances(numbers[fold == part])
    return distances


def _limits(distances: Numbers, bins: NDArray[np.int64], percentile: float) -> Numbers:
    """(bins,) limits by share of stained pixels; that of all where a bin has too few patches."""
    of_all = np.percentile(distances, percentile)
    found = [distances[bins == one] for one in range(len(STAINED_SHARES))]
    return np.array(
        [np.percentile(one, percentile) if len(one) >= FEWEST_IN_BIN else of_all for one in found], np.float32
    )


def _joined(slides: Sequence[Patches]) -> Patches:
    descriptors = np.concatenate([one.descriptors for one in slides])
    features = np.concatenate([one.features for one in slides])
    return Patches(descriptors, features, sum(one.of for one in slides))


def _share(strange: Sequence[Numbers], of: Sequence[int]) -> float:
    """Share of unlike patches over all magnifications."""
    unlike = sum(n * float((one > MARGIN).mean()) for one, n in zip(strange, of, strict=True) if len(one))
    return unlike / max(1, sum(n for one, n in zip(strange, of, strict=True) if len(one)))
