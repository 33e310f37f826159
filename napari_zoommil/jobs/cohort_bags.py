"""Bags of all slides of a cohort: of features, which are computed if they are missing, or of pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.jobs.embed import embed
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.kept import release
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.outcomes import results_of
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.slides import Slide
from napari_zoommil.slides.image_grid import image_grid

if TYPE_CHECKING:
    from napari_zoommil.bags.bag import Bag


TOLD = 100
"""Images between two reports of progress."""


@dataclass(frozen=True)
class Reading:
    """Parameters for reading slides; of images the patch size is 0, and tissue does not count."""

    magnifications: tuple[float, ...]
    patch_size: int
    min_tissue: float
    tissue_detector: str
    mpp: float | None
    icc: bool
    variants: int = 1


@dataclass(frozen=True)
class Source:
    """The encoder of the features; empty for pixels."""

    encoder: str
    encoder_hash: str
    width: int


PIXELS = Source("", "", 3)
"""For models without an encoder."""


def embedded_bags(
    slides: list[Path], encoder: str, store: Path, reading: Reading, device: str
) -> Job[tuple[dict[Path, Bag], Source]]:
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
    return dict(bags), Source(name_in_folder(encoder), first.encoder.hash, first.dim)


def image_bags(slides: list[Path], reading: Reading) -> Job[dict[Path, Bag]]:
    """Bags of one image each, which are kept in memory as far as there is room."""
    from napari_zoommil.bags.cache import RECENT_BYTES, Recent
    from napari_zoommil.bags.images import ImageBag

    kept, bags = Recent(RECENT_BYTES), {}
    for number, path in enumerate(slides, 1):
        if number % TOLD == 1:
            yield Progress(number, len(slides), f"measuring images: {number:,} of {len(slides):,}")
        with Slide.open(path, reading.mpp, reading.icc) as slide:
            grid = image_grid(slide, reading.magnifications[0])
        bags[path] = ImageBag(path, reading.mpp, reading.icc, grid, kept)
    return dict(bags)


def pixel_bags(slides: list[Path], store: Path, reading: Reading) -> Job[dict[Path, Bag]]:
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
    return bags
