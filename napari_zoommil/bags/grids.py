"""Patch grids on disk, so that the tissue of a slide is detected once."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import napari_zoommil
from napari_zoommil.bags.parts import DAMAGE
from napari_zoommil.geometry import Pair, PatchGrid, PatchLevel, magnification_name

ARRAYS = ("origins", "parent", "tissue")


@dataclass(frozen=True)
class GridKey:
    """The settings that determine the patch grid of a slide.

    Attributes
    ----------
    magnifications : tuple of float
    patch_size : int
    min_tissue : float
    mpp : (float, float)
        Level-0 pixel size, µm, y and x.
    detector : str
        The tissue detector with its settings.
    area : str
        Hash of the area to which the patches are limited; empty for the whole slide.
    overlap : int
        Of neighbouring patches, in their own px.
    """

    magnifications: tuple[float, ...]
    patch_size: int
    min_tissue: float
    mpp: Pair
    detector: str
    area: str = field(default="", repr=False)
    overlap: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """16 hexadecimal digits; they include the package version, which may change the detected tissue."""
        facts = repr((self, napari_zoommil.__version__)) + self.area
        facts += f" overlap {self.overlap}" if self.overlap else ""
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def write_grid(path: Path, grid: PatchGrid) -> None:
    """Write a grid; an existing one is replaced.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        attributes = {"shape": list(grid.shape), "patch_size": grid.patch_size}
        group = zarr.create_group(aside, attributes=attributes)
        for level in grid.levels:
            part = group.create_group(
                magnification_name(level.magnification),
                attributes={
                    "magnification": level.magnification,
                    "mpp": level.mpp,
                    "size": list(level.size),
                    "stride": list(level.stride),
                },
            )
            for name in ARRAYS:
                part.create_array(name, data=getattr(level, name))
        if path.exists():
            os.replace(path, aside / "old")
        os.replace(aside, path)
        shutil.rmtree(path / "old", ignore_errors=True)
    except OSError:
        if not path.is_dir():  # another process was first; its grid is equal
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_grid(path: Path) -> PatchGrid | None:
    """Read a grid; None if there is none, or it is damaged."""
    try:
        group = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        levels = [_read_level(part) for name, part in group.groups() if name != "old"]
        height, width = attributes["shape"]
        ordered = tuple(sorted(levels, key=lambda level: level.magnification))
        return PatchGrid((height, width), attributes["patch_size"], ordered)
    except DAMAGE:
        return None


def _read_level(part: zarr.Group) -> PatchLevel:
    attributes: dict[str, Any] = dict(part.attrs)
    origins, parent, tissue = (np.asarray(part[name][:]) for name in ARRAYS)  # type: ignore[index]
    size, stride = ((float(y), float(x)) for y, x in (attributes["size"], attributes["stride"]))
    scale = float(attributes["magnification"]), float(attributes["mpp"])
    return PatchLevel(*scale, size, stride, origins, parent, tissue)
