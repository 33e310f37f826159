"""Writing the features of a slide as one array: the compressed slide of neural image compression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.export import ROWS, Exported, require_own_json, safe_name
from napari_zoommil.errors import FileError
from napari_zoommil.files import make_folder, replacing, write_json
from napari_zoommil.geometry import PatchLevel, Rows, magnification_name


def write_array(
    out: Path,
    slide: Exported,
    level: PatchLevel,
    features: Callable[[Rows], NDArray[np.float32]],
    width: int,
) -> Iterator[int | tuple[Path, Path]]:
    """Write ``20x_256px/array_ENCODER/SLIDE.npy``, (C, H, W) float16, and its geometry as ``SLIDE.json``.

    A pixel is a patch; pixels without a patch are 0. The array is written by parts, and never in memory.

    Yields
    ------
    int
        Patches written so far; at the end the two files.

    Raises
    ------
    FileError
        If they cannot be written, or are there of another slide of the same name; or if two patches have the
        same place on the lattice, since they lie on none.
    """
    lattice = level.lattice
    if len(np.unique(lattice, axis=0)) < len(lattice):
        raise FileError("the patches lie on no common lattice, so their features are no image")
    low, extent = lattice.min(0), np.ptp(lattice, axis=0) + 1
    name = f"{magnification_name(level.magnification)}_{slide.patch_size}px"
    path = out / name / f"array_{safe_name(slide.encoder)}" / f"{slide.stem}.npy"
    beside = path.with_suffix(".json")
    require_own_json(beside, slide.fingerprint)
    make_folder(path.parent)
    with replacing(path) as part:
        made = np.lib.format.open_memmap(part, "w+", np.float16, (width, int(extent[0]), int(extent[1])))
        limit = np.finfo(np.float16).max
        for start in range(0, len(lattice), ROWS):
            rows = np.arange(start, min(start + ROWS, len(lattice)))
            row, column = (lattice[rows] - low).T
            made[:, row, column] = features(rows).clip(-limit, limit).T
            made.flush()
            yield int(rows[-1]) + 1
        del made
    stride = np.asarray(level.stride)
    write_json(
        beside,
        {
            "name": slide.stem,
            "fingerprint": slide.fingerprint,
            "encoder": slide.encoder,
            "encoder_hash": slide.encoder_hash,
            "shape": [width, *extent.tolist()],
            "patches": len(lattice),
            "magnification": level.magnification,
            "mpp": level.mpp,
            "patch_size": slide.patch_size,
            "slide_shape": list(slide.shape),
            "level-0 y and x of the first pixel": (level.origins[0] - (lattice[0] - low) * stride).tolist(),
            "level-0 px per pixel, y and x": stride.tolist(),
            "level-0 px per patch, y and x": list(level.size),
        },
    )
    yield path, beside
