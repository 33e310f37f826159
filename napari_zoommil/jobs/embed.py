"""``embed``: features of all patches of a slide into a feature cache, resumable in mid-slide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import PatchGrid, magnification_name
from napari_zoommil.jobs.features import current_encoder, find_patches, grid_key
from napari_zoommil.jobs.loading import encoder_on, open_own
from napari_zoommil.jobs.parameters import (
    DeviceName,
    EncoderName,
    Icc,
    Inside,
    Mpp,
    NamedStore,
    Overlap,
    PatchSize,
    SlideSource,
    TissueDetectorName,
    TissueShare,
    Variants,
    Workers,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import area_on
from napari_zoommil.slides import Slide
from napari_zoommil.slides.tissue_published import DEFAULT

if TYPE_CHECKING:
    from napari_zoommil.bags import FeatureCache, StoredBag
    from napari_zoommil.bags.bag import Wanted
    from napari_zoommil.bags.cache import EncoderKey
    from napari_zoommil.bags.grids import GridKey
    from napari_zoommil.bags.group import FeatureGroup
    from napari_zoommil.encoders import Encoder

BATCH_ROWS = 64
"""Patches encoded at once, and so between two chances to cancel."""


@dataclass(frozen=True)
class Embedding:
    """Where a slide's features lie.

    Attributes
    ----------
    encoded, total : int
        Patches encoded now, and there in all, in each variant.
    damaged : int
        Tiles of the slide that cannot be decoded and were read as background.
    patches, encoder : GridKey, EncoderKey
        Which of the features in the folder are meant.
    """

    store: Path
    encoded: int
    total: int
    damaged: int
    patches: GridKey
    encoder: EncoderKey

    def bag(self, cache: FeatureCache) -> StoredBag:
        """The features as a bag, out of a cache that may remember those of other slides too."""
        from napari_zoommil.bags import StoredBag

        return StoredBag(cache, self.store.name, self.patches, self.encoder)


@documented
def embed(
    slide: SlideSource,
    encoder: EncoderName = "nic",
    *,
    magnifications: tuple[float, ...] = (5.0, 10.0, 20.0),
    store: NamedStore = Path("features"),
    regions: Inside = (),
    patch_size: PatchSize = 256,
    min_tissue: TissueShare = 0.1,
    overlap: Overlap = 0.0,
    variants: Variants = 1,
    tissue_detector: TissueDetectorName = DEFAULT,
    mpp: Mpp = None,
    icc: Icc = False,
    device: DeviceName = "auto",
    workers: Workers = None,
) -> Job[Embedding]:
    """Encode every tissue patch of a slide at every magnification.

    Parameters
    ----------
    magnifications : tuple of float
        Rising by whole factors.
    store : Path
        Folder of features; those of a slide that are there already are not made again.

    Returns
    -------
    Embedding

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    from napari_zoommil.bags.cache import FeatureCache
    from napari_zoommil.encoders.device import cpu_threads

    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        cache = FeatureCache(store)
        area = area_on(own, regions)
        patches = grid_key(own, magnifications, patch_size, min_tissue, area, overlap, tissue_detector)
        yield Progress(0, 1, "looking at the encoder")
        key = current_encoder(encoder, cache, own.fingerprint)
        grid = cache.grid(own.fingerprint, patches)
        if grid is None:
            cache.check_writable()
            grid = yield from find_patches(own, cache, patches, area, tissue_detector)
        lacking = [_Lacking.of(cache, own.fingerprint, key, grid, variant) for variant in range(variants)]
        total, missing = variants * sum(map(len, grid.levels)), sum(one.count for one in lacking)
        if missing:
            cache.check_writable()
            yield Progress(total - missing, total, "loading the encoder")
            stack.enter_context(cpu_threads())
            network = stack.enter_context(encoder_on(device, encoder, key.hash))
            for one in lacking:
                done = total - sum(other.count for other in lacking[one.variant :])
                yield from _fill(cache, one, own, grid, network, workers, (done, total))
        damaged = cache.damaged(own.fingerprint, own.damaged)
        return Embedding(cache.folder / own.fingerprint, missing, total, damaged, patches, key)


@dataclass(frozen=True, eq=False)
class _Lacking:
    """The features of a slide in one variant by magnification, and the patches that have none."""

    groups: Sequence[FeatureGroup]
    wanted: list[Wanted]
    variant: int

    @classmethod
    def of(
        cls, cache: FeatureCache, fingerprint: str, encoder: EncoderKey, grid: PatchGrid, variant: int
    ) -> _Lacking:
        groups = [cache.group(fingerprint, encoder, level, grid.patch_size, variant) for level in grid.levels]
        missing = [
            np.flatnonzero(~group.find(level.origins).known)
            for group, level in zip(groups, grid.levels, strict=True)
        ]
        return cls(groups, [(level, rows) for level, rows in enumerate(missing) if len(rows)], variant)

    @property
    def count(self) -> int:
        return sum(len(rows) for _, rows in self.wanted)


def _fill(
    cache: FeatureCache,
    lacking: _Lacking,
    slide: Slide,
    grid: PatchGrid,
    network: Encoder,
    workers: int | None,
    done_of: tuple[int, int],
) -> Job[None]:
    """Encode what a store lacks of one variant and keep it as it goes."""
    from napari_zoommil.bags.bag import encode_patches
    from napari_zoommil.bags.cache import unwritable
    from napari_zoommil.bags.group import Writer
    from napari_zoommil.bags.parts import DAMAGE

    done, total = done_of

    def write(each: Callable[..., int], *what: Any) -> None:
        try:
            each(*what)
        except DAMAGE as error:
            raise StoreError(unwritable(cache.folder, error)) from error

    how = BATCH_ROWS, workers, lacking.variant
    with closing(encode_patches(slide, grid, lacking.wanted, network, *how)) as batches:
        for level, of_level in groupby(batches, itemgetter(0)):
            writer, origins = Writer(lacking.groups[level]), grid.levels[level].origins
            name = magnification_name(grid.magnifications[level])
            name += f" variant {lacking.variant}" if lacking.variant else ""
            try:
                for _, rows, features in of_level:
                    write(writer.add, origins[rows], features)
                    done += len(rows)
                    yield Progress(done, total, f"{slide.name} {name}: {done:,} of {total:,} patches")
            finally:  # also before the next magnification: the rest would wait for all of it
                write(writer.flush)
