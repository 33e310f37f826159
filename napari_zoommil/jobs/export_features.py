"""``export-features``: the features of a slide in a store as files that other tools read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import Rows, magnification_name
from napari_zoommil.jobs.features import current_encoder, grid_key
from napari_zoommil.jobs.loading import open_own
from napari_zoommil.jobs.parameters import (
    EncoderName,
    Help,
    Icc,
    Inside,
    Mpp,
    NamedStore,
    Overlap,
    PatchSize,
    SlideSource,
    TissueDetectorName,
    TissueShare,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import area_on
from napari_zoommil.slides.tissue_published import DEFAULT

if TYPE_CHECKING:
    from napari_zoommil.bags import StoredBag

Layout = Annotated[
    Literal["trident", "array"],
    Help(
        "trident: h5 files with features and coordinates. array: one image of each magnification, with a "
        "pixel per patch, as .npy (channels, rows, columns; float16), and its place on the slide as JSON."
    ),
]

ExportFolder = Annotated[Path, Help("Folder to write, with a folder in it for each magnification.")]


@dataclass(frozen=True)
class Export:
    """The files that were written.

    Attributes
    ----------
    features, coordinates : tuple of Path
        One for each magnification; of the layout ``array``, the images and where they lie.
    patches : int
        In all.
    """

    features: tuple[Path, ...]
    coordinates: tuple[Path, ...]
    patches: int


@documented
def export_features(
    slide: SlideSource,
    encoder: EncoderName = "nic",
    *,
    out: ExportFolder,
    layout: Layout = "trident",
    magnifications: tuple[float, ...] = (5.0, 10.0, 20.0),
    store: NamedStore = Path("features"),
    regions: Inside = (),
    patch_size: PatchSize = 256,
    min_tissue: TissueShare = 0.1,
    overlap: Overlap = 0.0,
    tissue_detector: TissueDetectorName = DEFAULT,
    mpp: Mpp = None,
    icc: Icc = False,
) -> Job[Export]:
    """Write features that ``embed`` made: TRIDENT's files, which MIL-Lab, torchmil and CLAM read, or images.

    The settings are those of ``embed``. A file that is there of the same slide is replaced.

    Parameters
    ----------
    magnifications : tuple of float
        Rising by whole factors.

    Returns
    -------
    Export

    Raises
    ------
    StoreError
        If the store lacks features of the slide with these settings.
    FileError
        If files cannot be written, or are there of another slide of the same name.
    """
    from napari_zoommil.bags import FeatureCache, StoredBag
    from napari_zoommil.bags.feature_files.array import write_array
    from napari_zoommil.bags.feature_files.export import Exported, write_trident

    write = {"trident": write_trident, "array": write_array}[layout]
    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        cache = FeatureCache(store)
        key = grid_key(
            own, magnifications, patch_size, min_tissue, area_on(own, regions), overlap, tissue_detector
        )
        yield Progress(0, 1, "looking at the encoder")
        known = current_encoder(encoder, cache, own.fingerprint)
        if cache.grid(own.fingerprint, key) is None:
            raise StoreError(
                f"{store} holds no patches of {own.name} with these settings; run embed with the same ones "
                "first"
            )
        bag = StoredBag(cache, own.fingerprint, key, known)
        _require_all(bag, own.name, encoder, store)
        magnification = own.magnification or max(magnifications)
        about = Exported(own.stem, own.fingerprint, own.shape, magnification, encoder, known.hash, patch_size)
        total, done, files = sum(map(len, bag.grid.levels)), 0, []
        for level, patches in enumerate(bag.grid.levels):
            read = _reader(bag, level)
            for written in write(out, about, patches, read, bag.dim):
                if isinstance(written, tuple):
                    files.append(written)
                else:
                    note = f"{own.name} {magnification_name(patches.magnification)}: {written:,} patches"
                    yield Progress(done + written, total, note)
            done += len(patches)
    features, coordinates = zip(*files, strict=True)
    return Export(tuple(features), tuple(coordinates), total)


def _reader(bag: StoredBag, level: int) -> Callable[[Rows], NDArray[np.float32]]:
    return lambda rows: bag.features(level, rows).numpy()


def _require_all(bag: StoredBag, slide: str, encoder: str, store: Path) -> None:
    lacking = [
        f"{missing:,} of {len(level):,} at {magnification_name(level.magnification)}"
        for missing, level in zip(bag.missing(), bag.grid.levels, strict=True)
        if missing
    ]
    if lacking:
        raise StoreError(
            f"{store} lacks features by {encoder} of {slide} ({', '.join(lacking)}); run embed with the same "
            "settings first"
        )
