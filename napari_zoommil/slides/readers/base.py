"""The interface of a slide reader, and the choice of the reader for a file.

A reader adapts one library to one method, :meth:`Reader.read`: raw pixels of one stored level.
Padding, choice of level, resampling and units are in :class:`~napari_zoommil.slides.Slide` only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import FileError, SlideError, UnsupportedSlideError
from napari_zoommil.files import PICTURES, check_readable, has_ending
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
    shrinks : tuple of int
        Factors by which a window can be reduced while decoding, at less cost than in full: 1, and
        powers of two if the codec supports them.
    mpp : (float, float) or None
        Level-0 pixel size in µm, y and x, as the file states it.
    objective : float or None
        Magnification of the objective, as the file states it.
    background : (int, int, int)
        Colour of areas that were not scanned or cannot be decoded.
    associated : tuple of str
        Names of label, macro and thumbnail images.
    icc : bytes or None
        The colour profile of the pixels.
    damaged : int
        Number of tiles that could not be decoded so far and were read as background.
    """

    vendor: str
    levels: tuple[Level, ...]
    shrinks: tuple[int, ...]
    mpp: Pair | None
    objective: float | None
    properties: Mapping[str, str]
    background: tuple[int, int, int]
    associated: tuple[str, ...]
    icc: bytes | None

    @property
    def damaged(self) -> int: ...

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        """Pixels (height, width, 3) of a window that lies inside ``level``.

        All arguments are in px of that level, or in px ``shrink`` times as large; the level then has
        ``shrunken(extent, shrink)`` px.
        """
        ...

    def associated_image(self, name: str) -> RGB:
        """A label, macro or thumbnail image, (height, width, 3)."""
        ...

    def close(self) -> None: ...


def shrunken(extent: tuple[int, int], shrink: int) -> tuple[int, int]:
    """Extent in px that are ``shrink`` times as large; the last ones may overhang."""
    return -(-extent[0] // shrink), -(-extent[1] // shrink)


READERS = (
    ("napari_zoommil.slides.readers.ome_zarr", "OMEZarrReader"),
    ("napari_zoommil.slides.readers.accelerated", "FastReader"),
    ("napari_zoommil.slides.readers.tiff", "TiffReader"),
    ("napari_zoommil.slides.readers.image", "ImageReader"),
)
"""Readers in the order they are tried; each has ``accepts(path)`` and ``open(path)``."""

PLAUSIBLE_MPP = (0.02, 50.0)
"""Range of stated resolutions that are believed, µm/px; others are a print density (72 dpi = 353 µm/px)."""


LARGEST_PIECE = 1_200_000_000
"""Bytes of the largest tile, strip, chunk or undivided image that is decoded: 400 million pixels."""

LARGEST_SLIDE = 10**12
"""Pixels of the largest slide that is opened; scanners reach 10**11."""


def largest_of(extents: Sequence[tuple[int, int]]) -> int:
    """The image of a file that is its slide: the first of the largest ones."""
    return max(range(len(extents)), key=lambda at: extents[at][0] * extents[at][1])


def plausible(mpp: Pair | None) -> Pair | None:
    """The stated resolution, or None if it is outside ``PLAUSIBLE_MPP``."""
    low, high = PLAUSIBLE_MPP
    return mpp if mpp and all(low <= value <= high for value in mpp) else None


def _readers_for(path: Path) -> list[Any]:
    if not (path.is_file() or path.is_dir()):  # a pipe would be waited for without end
        return []
    readers = (getattr(import_module(module), name) for module, name in READERS)
    return [reader for reader in readers if reader.accepts(path)]


LARGE_PX = 1 << 26
"""Pixels above which an image without a pyramid is opened as a slide."""


def slide_format(path: Path) -> bool:
    """Whether a path is a slide that needs lazy viewing; decided without reading its pixels.

    A file with the suffix of an ordinary image counts only if it is a pyramid, or very large.
    """
    if not path.exists() or not _readers_for(path):
        return False
    if not has_ending(path, PICTURES):
        return True
    try:
        reader = open_reader(path)
    except SlideError:
        return False
    try:
        height, width = reader.levels[0].shape
        return len(reader.levels) > 1 or height * width > LARGE_PX
    finally:
        reader.close()


def _bounded(reader: Reader, path: Path) -> Reader:
    """The reader, unless the file states an extent that nothing has: each of its tiles would be visited."""
    height, width = reader.levels[0].shape
    if height * width <= LARGEST_SLIDE:
        return reader
    reader.close()
    raise SlideError(
        f"{path.name} states an image of {width:,} × {height:,} px, larger than any slide; try another copy"
    )


def _require_there(path: Path) -> None:
    if not os.path.exists(path):  # unlike Path.exists, False for names that the system refuses
        raise SlideError(f"there is no slide at {path}")
    try:
        check_readable(path)
    except FileError as error:
        raise SlideError(str(error)) from error


def open_reader(path: Path) -> Reader:
    """Open a slide with the first reader that can.

    Raises
    ------
    SlideError
        If the path does not exist, or the slide is damaged.
    UnsupportedSlideError
        If no reader supports it.
    """
    _require_there(path)
    failures = []
    for reader in _readers_for(path):
        try:
            return _bounded(reader.open(path), path)
        except SlideError as error:
            failures.append(error)
    _require_there(path)  # it may have gone meanwhile, so that no reader knows it
    if failures:
        raise failures[-1]
    raise UnsupportedSlideError(
        f"{path.name} is not a slide this tool can read (SVS, NDPI, MRXS, SCN, BIF, VMS, TIFF, "
        "DICOM folder, OME-Zarr, JPEG, PNG)"
    )
