"""What a slide format has to offer, and which reader takes which file.

A reader adapts one library to one hook, :meth:`Reader.read`: raw pixels of one stored level.
Padding, choice of level, resampling and units live in :class:`~napari_zoommil.slides.Slide` alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.geometry import Pair

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Level:
    """One resolution of a pyramid: extent in px (y, x) and float downsample from level 0 (y, x)."""

    shape: tuple[int, int]
    downsample: Pair


class Reader(Protocol):
    """One open slide file; every method may be called from several threads at once.

    Attributes
    ----------
    vendor : str
        Scanner vendor or format, lower case.
    levels : tuple of Level
        From the finest to the coarsest.
    mpp : (float, float) or None
        Level-0 pixel size in µm, y and x, as the file states it.
    objective : float or None
        Magnification of the objective as the file states it.
    background : (int, int, int)
        Colour of what was not scanned.
    associated : tuple of str
        Names of label, macro and thumbnail images.
    """

    vendor: str
    levels: tuple[Level, ...]
    mpp: Pair | None
    objective: float | None
    properties: Mapping[str, str]
    background: tuple[int, int, int]
    associated: tuple[str, ...]

    def read(self, level: int, y: int, x: int, height: int, width: int) -> RGB:
        """Pixels (height, width, 3) of a window that lies inside ``level``, in that level's px."""
        ...

    def associated_image(self, name: str) -> RGB:
        """A label, macro or thumbnail image, (height, width, 3)."""
        ...

    def close(self) -> None: ...


READERS = (
    ("napari_zoommil.slides.ome_zarr", "OMEZarrReader"),
    ("napari_zoommil.slides.openslide", "OpenSlideReader"),
)
"""Candidate readers in the order they are asked; each has ``accepts(path)``."""

PLAUSIBLE_MPP = (0.02, 50.0)
"""µm/px outside which a stated resolution is a printing density (72 dpi is 353 µm/px), not a scale."""


def plausible(mpp: Pair | None) -> Pair | None:
    """The stated resolution, or None where no microscope could have it."""
    low, high = PLAUSIBLE_MPP
    return mpp if mpp and all(low <= value <= high for value in mpp) else None


def _reader_for(path: Path) -> Any:
    for module, name in READERS:
        reader = getattr(import_module(module), name)
        if reader.accepts(path):
            return reader
    return None


def slide_format(path: Path) -> bool:
    """Whether a path is a slide that deserves lazy viewing: told without opening it whole.

    TIFF without a vendor's own suffix counts only if it is a tiled pyramid.
    """
    if not path.exists() or _reader_for(path) is None:
        return False
    if path.suffix.lower() not in (".tif", ".tiff"):
        return True
    reader = open_reader(path)
    try:
        return len(reader.levels) > 1
    finally:
        reader.close()


def open_reader(path: Path) -> Reader:
    """Open a slide with the first reader that takes it.

    Raises
    ------
    SlideError
        If nothing is there.
    UnsupportedSlideError
        If no reader understands it.
    """
    if not os.path.exists(path):  # unlike Path.exists, says no to names the system refuses
        raise SlideError(f"there is no slide at {path}")
    reader = _reader_for(path)
    if reader is not None:
        return reader(path)
    raise UnsupportedSlideError(
        f"{path.name} is not a slide this tool can read "
        "(SVS, NDPI, MRXS, SCN, BIF, VMS, tiled TIFF, DICOM folder, OME-Zarr)"
    )
