"""Read-only access to feature stores of the first format: one zarr group per slide, encoder and
set of magnifications.

They hold ``features`` (N, D) and ``coords`` (N, 2) per magnification, and ``done``, a byte per chunk of rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_zoommil.bags.parts import DAMAGE, Part, warn_unused
from napari_zoommil.geometry import PatchLevel, magnification_name

CHUNK_ROWS = 256
SCALE_TOLERANCE = 1e-6

OTHER_FORMAT = "their format is unknown to this version of napari-zoommil"

OTHER_HASH = (
    "they were made with other weights of the encoder, or of a TorchScript file by an earlier version, "
    "which hashed such files in another way"
)


def older_parts(
    folder: Path, fingerprint: str, encoder: str, encoder_hash: str, level: PatchLevel, patch_size: int
) -> tuple[Part, ...]:
    """The features of a slide at one magnification in a folder of stores of the first format.

    A store of this slide and encoder that cannot be used is skipped with a warning.
    """
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in encoder)
    found = []
    for path in sorted(folder.glob(f"*-{fingerprint[:8]}.{safe}.zarr")):
        try:
            about: dict[str, Any] = dict(zarr.open_group(path, mode="r").attrs)
            if about["fingerprint"] != fingerprint:
                continue  # of another slide with the same first digits
            if about["format"] != 1 or about["encoder_hash"] != encoder_hash:
                warn_unused(path, OTHER_FORMAT if about["format"] != 1 else OTHER_HASH)
            elif about["patch_size"] == patch_size:
                found.append(_part(path / magnification_name(level.magnification), level))
        except DAMAGE:
            warn_unused(path, "they are damaged, or lack a magnification")
    return tuple(part for part in found if part is not None)


def _part(path: Path, level: PatchLevel) -> Part | None:
    group = zarr.open_group(path, mode="r")
    if not np.allclose(group.attrs["stride"], level.size, rtol=SCALE_TOLERANCE):  # type: ignore[arg-type]
        return None
    origins, done = (np.asarray(zarr.open_array(path / name, mode="r")[:]) for name in ("coords", "done"))
    marked = np.repeat(done.astype(bool), CHUNK_ROWS)[: len(origins)]
    known = np.where(marked[:, None], origins.astype(np.float64), np.nan)
    return Part(path, known, zarr.open_array(path / "features", mode="r"))
