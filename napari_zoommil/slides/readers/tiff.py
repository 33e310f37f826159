"""TIFF files that OpenSlide does not open: OME-TIFF, flat and striped files, grey, CMYK, 16 bits.

The first image of the file is read, at its first time point and focal plane, with all its resolutions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from tifffile import RESUNIT, TiffFile, TiffFileError, TiffPage, TiffPageSeries

from napari_zoommil.errors import SlideError, UnsupportedSlideError, first_line
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level, Reader, plausible
from napari_zoommil.slides.readers.orientation import oriented
from napari_zoommil.slides.readers.shared_file import SharedFile, open_tiff
from napari_zoommil.slides.readers.tiff_segments import MissingSegment, Segments, UnreadablePage, segments_of
from napari_zoommil.slides.readers.tiles import TiledImage, identity

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF."""

BACKGROUND = (255, 255, 255)

MICRONS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "\u03bcm": 1.0, "um": 1.0, "micron": 1.0}
RESOLUTION_UNITS = {RESUNIT.INCH: 25_400.0, RESUNIT.CENTIMETER: 10_000.0, RESUNIT.MILLIMETER: 1_000.0}
"""µm per unit of a TIFF's resolution tags."""


class TiffReader:
    """Reader for the pages of a TIFF, by tifffile's index."""

    @staticmethod
    def accepts(path: Path) -> bool:
        try:
            with path.open("rb") as file:
                return file.read(4) in MAGIC
        except OSError:
            return False

    @classmethod
    def open(cls, path: Path) -> Reader:
        """The slide in the orientation of its tag.

        Raises
        ------
        SlideError
            If it is damaged, or is not a grey or colour image.
        """
        reader = cls(path)
        return oriented(reader, reader.orientation)

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = SharedFile(path)
        try:
            self._describe(path)
        except BaseException:
            self._file.close()
            raise

    def _describe(self, path: Path) -> None:
        try:
            with open_tiff(path) as tiff:
                self._read_index(tiff)
        except UnreadablePage as error:
            raise UnsupportedSlideError(f"{path.name} {error}") from error
        except SlideError:
            raise
        except Exception as error:  # a damaged index fails anywhere inside tifffile
            why = f" ({first_line(error)})" if isinstance(error, TiffFileError) else ""
            raise SlideError(f"{path.name} is a damaged TIFF{why}; try another copy of it") from error
        geometries = [level.geometry for level in self._levels]
        self._image = TiledImage(identity(path), geometries, self._decode, self.background)
        self._image.probe(path.name)
        self.read = self._image.read

    def _read_index(self, tiff: TiffFile) -> None:
        if not tiff.pages:
            raise SlideError(f"{self._name} is a TIFF without an image in it")
        first, *coarser = _levels_of(tiff.series[0])
        self._levels = [segments_of(first, self._file.fetch)]
        for pages in coarser:
            with suppress(UnreadablePage):  # levels that cannot be read are left out
                self._levels.append(segments_of(pages, self._file.fetch, self._levels[0].white))
        page = first[0]
        self.levels = tuple(_level(segments, self._levels[0]) for segments in self._levels)
        self.shrinks = tuple(
            s for s in self._levels[0].shrinks if all(s in level.shrinks for level in self._levels)
        )
        ome = _ome_pixels(tiff)
        self.vendor = "ome-tiff" if tiff.is_ome else "tiff"
        self.mpp = plausible(_ome_mpp(ome) or _tag_mpp(page) or _imagej_mpp(tiff, page))
        self.objective = _objective(tiff)
        self.orientation = int(page.tags.valueof("Orientation", 1))
        self.background = BACKGROUND
        self.associated: tuple[str, ...] = ()
        self.icc: bytes | None = page.tags.valueof("InterColorProfile", None)
        self.properties: Mapping[str, str] = {
            tag.name: str(tag.value)
            for tag in page.tags
            if isinstance(tag.value, str | int | float) and len(str(tag.value)) < 1_000
        }

    @property
    def damaged(self) -> int:
        return self._image.damaged

    def _decode(self, level: int, row: int, column: int, shrink: int) -> RGB:
        segments = self._levels[level]
        try:
            return segments.decode(self._file.fetch, row, column, shrink)
        except MissingSegment:
            height, width = (edge // shrink for edge in segments.geometry.tile)
            return np.full((height, width, 3), self.background, np.uint8)

    def associated_image(self, name: str) -> RGB:
        raise SlideError(f"{self._name} has no image {name!r}")

    def close(self) -> None:
        self._file.close()
        self._image.close()


def _levels_of(series: TiffPageSeries) -> list[list[TiffPage]]:
    """Pages of each resolution: one, or one per channel if channels are stored as separate pages."""
    return [_channels(level) for level in series.levels]


def _channels(level: TiffPageSeries) -> list[TiffPage]:
    """The pages of one image: the first index of every axis other than the channels."""
    axes, shape = _page_axes(level)
    order = np.arange(math.prod(shape)).reshape(shape)[
        tuple(slice(None) if axis == "C" else 0 for axis in axes)
    ]
    if order.size not in (1, 3, 4):
        raise UnreadablePage(f"holds {order.size} channels; grey and RGB images can be shown")
    pages = [level.pages[int(index)] for index in order.reshape(-1)]
    if any(page is None or page.parent is not level.keyframe.parent for page in pages):
        raise UnreadablePage("lacks some of its pages, or has them in other files")
    return [page if isinstance(page, TiffPage) else page.aspage() for page in pages]  # type: ignore[union-attr]


def _page_axes(level: TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """The axes of a series that run over pages."""
    inside = len(level.keyframe.shape)
    return level.axes[:-inside], level.shape[:-inside]


def _level(segments: Segments, finest: Segments) -> Level:
    """A level with its downsample computed from the shapes."""
    shape, full = segments.geometry.shape, finest.geometry.shape
    return Level(shape, (full[0] / shape[0], full[1] / shape[1]))


def _ome_pixels(tiff: TiffFile) -> Mapping[str, Any]:
    """Attributes of the first image's ``Pixels`` element in OME-XML."""
    root = _ome_root(tiff)
    pixels = None if root is None else root.find(".//{*}Pixels")
    return {} if pixels is None else pixels.attrib


def _ome_root(tiff: TiffFile) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(tiff.ome_metadata) if tiff.ome_metadata else None
    except ElementTree.ParseError:
        return None


def _objective(tiff: TiffFile) -> float | None:
    root = _ome_root(tiff)
    objective = None if root is None else root.find(".//{*}Objective")
    return None if objective is None else _positive(objective.get("NominalMagnification"))


def _positive(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


def _ome_mpp(pixels: Mapping[str, Any]) -> Pair | None:
    found = []
    for axis in "YX":
        size = _positive(pixels.get(f"PhysicalSize{axis}"))
        unit = MICRONS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        found.append(size * unit if size and unit else None)
    y, x = found
    return (y, x) if y and x else None


def _tag_mpp(page: TiffPage) -> Pair | None:
    unit = RESOLUTION_UNITS.get(page.tags.valueof("ResolutionUnit", RESUNIT.INCH))
    return _per_unit(page, unit)


def _imagej_mpp(tiff: TiffFile, page: TiffPage) -> Pair | None:
    """Pixel size by ImageJ's metadata, which name the unit of the resolution tags."""
    unit = (tiff.imagej_metadata or {}).get("unit", "").replace("\\u00B5", "µ")
    return _per_unit(page, MICRONS.get(unit))


def _per_unit(page: TiffPage, unit: float | None) -> Pair | None:
    found = []
    for name in ("YResolution", "XResolution"):
        count, length = page.tags.valueof(name, (0, 0))
        found.append(unit * length / count if unit and count and length else None)
    y, x = found
    return (y, x) if y and x else None
