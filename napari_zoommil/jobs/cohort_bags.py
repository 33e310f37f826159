"""Bags of all slides of a cohort: of features, which are computed if they are missing, or of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.jobs.embed import embed
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.kept import release
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.outcomes import results_of
from napari_zoommil.jobs.progress import Job, retold
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.bags.bag import Bag


@dataclass(frozen=True)
class Reading:
    """Parameters for reading slides."""

    magnifications: tuple[float, ...]
    patch_size: int
    min_tissue: float
    tissue_detector: str
    mpp: float | None
    icc: bool


@dataclass(frozen=True)
class Source:
    """The encoder of the features; empty for pixels."""

    encoder: str
    encoder_hash: str
    width: int


PIXELS = Source("", "", 3)
"""For models without an encoder."""


@dataclass(frozen=True)
class CohortBags:
    """The bags of a cohort's slides.

    Attributes
    ----------
    bags : mapping of Path to Bag
    counts : sequence of tuple of int
        Patches of each slide at each magnification.
    source : Source
    """

    bags: Mapping[Path, Bag]
    counts: Sequence[tuple[int, ...]]
    source: Source


def embedded_bags(
    slides: list[Path], encoder: str, store: Path, reading: Reading, device: str
) -> Job[CohortBags]:
    """Bags of features, which are computed if they are missing."""
    from napari_zoommil.bags.cache import FeatureCache

    job = partial(embed, encoder=encoder, store=store, device=device, **asdict(reading))
    found = results_of((yield from over(job, slides)))
    release()  # training does not need the encoder
    cache = FeatureCache(store)
    bags = {slide: one.bag(cache) for slide, one in zip(slides, found, strict=True)}
    # imports torch, which embedding has imported too
    from napari_zoommil.encoders.trust import name_in_folder

    first = bags[slides[0]]
    source = Source(name_in_folder(encoder), first.encoder.hash, first.dim)
    return CohortBags(dict(bags), [one.counts for one in found], source)


def pixel_bags(slides: list[Path], store: Path, reading: Reading) -> Job[CohortBags]:
    """Bags that read their slides again in each epoch; patch grids are cached."""
    from napari_zoommil.bags.cache import FeatureCache
    from napari_zoommil.bags.pixels import PixelBag

    cache = FeatureCache(store)
    bags: dict[Path, Bag] = {}
    for number, path in enumerate(slides, 1):
        opened = partial(Slide.open, path, reading.mpp, reading.icc)
        with opened() as slide:
            title = f"slide {number} of {len(slides)}: "
            how, detector = (
                (reading.magnifications, reading.patch_size, reading.min_tissue),
                reading.tissue_detector,
            )
            key = grid_key(slide, *how, tissue_detector=detector)
            found = find_patches(slide, cache, key, tissue_detector=detector)
            grid = yield from retold(found, lambda told, title=title: replace(told, note=title + told.note))  # type: ignore[misc]
        bags[path] = PixelBag(opened, grid)
    counts = [tuple(map(len, bag.grid.levels)) for bag in bags.values()]
    return CohortBags(bags, counts, PIXELS)
