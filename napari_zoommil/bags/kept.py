"""A lazy bag that finds again what was encoded for the same slide, patches and encoder before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from zipfile import BadZipFile

import numpy as np

from napari_zoommil.bags.bag import LazyBag
from napari_zoommil.encoders import Encoder
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.slides import Slide

KEPT = 20
"""Files that a folder keeps; the oldest go."""


class KeptBag(LazyBag):
    """A :class:`LazyBag` that begins with what a folder knows of its patches.

    The file is named after what was encoded, never after the slide: another slide, grid or encoder has
    another file. One that is damaged counts as none.

    Parameters
    ----------
    folder : Path
    slide, grid, encoder, batch_size, workers
        As of a lazy bag.
    """

    def __init__(
        self,
        folder: Path,
        slide: Slide,
        grid: PatchGrid,
        encoder: Encoder,
        batch_size: int = 64,
        workers: int | None = None,
    ) -> None:
        super().__init__(slide, grid, encoder, batch_size, workers)
        self.path = folder / f"{_key(slide, grid, encoder)}.npz"
        try:
            with np.load(self.path) as content:
                for level in range(len(grid.levels)):
                    rows = content[f"rows_{level}"]
                    self._features[level][rows] = content[f"features_{level}"]
                    self._known[level][rows] = True
        except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile):
            for known in self._known:
                known[:] = False

    def keep(self) -> None:
        """Write all that is known; a file is replaced as a whole."""
        arrays: dict[str, Any] = {}
        for level, known in enumerate(self._known):
            arrays[f"rows_{level}"] = np.flatnonzero(known)
            arrays[f"features_{level}"] = self._features[level][known]
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as part:
            np.savez(part, **arrays)
        os.replace(part.name, self.path)
        for old in sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)


def _key(slide: Slide, grid: PatchGrid, encoder: Encoder) -> str:
    digest = hashlib.sha256(repr((slide.fingerprint, encoder.hash, grid.shape, grid.patch_size)).encode())
    for level in grid.levels:
        digest.update(repr((level.magnification, level.stride)).encode())
        digest.update(np.ascontiguousarray(level.lattice).tobytes())
    return digest.hexdigest()[:32]
