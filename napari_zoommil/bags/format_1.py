"""Read-only access to feature stores of the first format: one zarr group per slide, encoder and
set of magnifications.

They hold ``features`` (N, D) and ``coords`` (N, 2) per magnification, and ``done``, a byte per chunk of rows.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_zoommil.bags.parts import DAMAGE, Part
from napari_zoommil.geometry import PatchLevel, magnification_name

CHUNK_ROWS = 256
SCALE_TOLERANCE = 1e-6


def older_parts(
    folder: Path, fingerprint: str, encoder: str, encoder_hash: str, level: PatchLevel, patch_size: int
) -> tuple[Part, ...]:
    """The features of a slide at one magnification in a folder of stores of the first format."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in encoder)
    found = []
    for path in sorted(folder.glob(f"*-{fingerprint[:8]}.{safe}.zarr")):
        with suppress(*DAMAGE):
            group = zarr.open_group(path, mode="r")
            about: dict[str, Any] = dict(group.attrs)
            same = about["fingerprint"], about["encoder_hash"], about["patch_size"]
            if about["format"] == 1 and same == (fingerprint, encoder_hash, patch_size):
                found.append(_part(path / magnification_name(level.magnification), level))
    return tuple(part for part in found if part is not None)


def _part(path: Path, level: PatchLevel) -> Part | None:
    group = zarr.open_group(path, mode="r")
    if not np.allclose(group.attrs["stride"], level.size, rtol=SCALE_TOLERANCE):  # type: ignore[arg-type]
        return None
    origins, done = (np.asarray(zarr.open_array(path / name, mode="r")[:]) for name in ("coords", "done"))
    marked = np.repeat(done.astype(bool), CHUNK_ROWS)[: len(origins)]
    known = np.where(marked[:, None], origins.astype(np.float64), np.nan)
    return Part(path, known, zarr.open_array(path / "features", mode="r"))
