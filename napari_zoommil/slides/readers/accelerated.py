"""Fast reader for formats that OpenSlide supports: tiles are decoded directly and shared by all readers."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffPage

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.slides.readers.base import RGB, Reader
from napari_zoommil.slides.readers.openslide import DamagedWindow, OpenSlideReader
from napari_zoommil.slides.readers.orientation import oriented
from napari_zoommil.slides.readers.shared_file import SharedFile, open_tiff
from napari_zoommil.slides.readers.tiff import TiffReader
from napari_zoommil.slides.readers.tiff_segments import MissingSegment, RefusedPage, Segments, segments_of
from napari_zoommil.slides.readers.tiles import TiledImage, identity

VENDORS = ("aperio", "generic-tiff")
"""Formats with plain TIFF tiles; in others tiles overlap, are incomplete or have an index of their own."""


def _accelerated(slow: OpenSlideReader, path: Path) -> Reader | None:
    """The same slide, read tile by tile; None if that is not possible."""
    if slow.vendor not in VENDORS:
        return None
    file = None
    try:
        with open_tiff(path) as tiff:
            pages = [_page_of(level.shape, tiff) for level in slow.levels]
            if slow.vendor == "aperio" and not all(all(page.databytecounts) for page in pages[:-1]):
                return None  # OpenSlide fills missing tiles in its own way
            file = SharedFile(path)
            levels = [segments_of(pages[:1], file.fetch)]
            levels += [segments_of([page], file.fetch, levels[0].white) for page in pages[1:]]
            orientation = pages[0].tags.valueof("Orientation", 1)
        reader = FastReader(slow, path, file, levels)
    except RefusedPage as error:
        if file is not None:
            file.close()
        slow.close()
        raise UnsupportedSlideError(f"{path.name} {error}") from error
    except Exception:  # tifffile failed, but OpenSlide can read the file
        if file is not None:
            file.close()
        return None
    try:
        reader.probe(path.name)
    except SlideError:
        reader.close()
        raise
    return oriented(reader, orientation)


def _is_ome(path: Path) -> bool:
    try:
        with open_tiff(path) as tiff:
            return tiff.is_ome
    except Exception:  # OpenSlide may still read it
        return False


def _page_of(shape: tuple[int, int], tiff: TiffFile) -> TiffPage:
    """The tiled page of a level, identified by its extent; ValueError if that is not unique."""
    (found,) = [
        page
        for page in tiff.pages
        if isinstance(page, TiffPage) and page.is_tiled and (page.imagelength, page.imagewidth) == shape
    ]
    return found


class FastReader:
    """Metadata from OpenSlide, pixels from the tiles, and OpenSlide again for tiles that fail."""

    accepts = staticmethod(OpenSlideReader.accepts)

    @staticmethod
    def open(path: Path) -> Reader:
        """Open a slide with the fastest reader that supports it."""
        if TiffReader.accepts(path) and _is_ome(path):  # OpenSlide would take it for a plain TIFF
            return TiffReader.open(path)
        slow = OpenSlideReader(path)
        return _accelerated(slow, path) or cast(Reader, slow)

    def __init__(self, slow: OpenSlideReader, path: Path, file: SharedFile, levels: list[Segments]) -> None:
        self._slow, self._file, self._levels = slow, file, levels
        self.vendor, self.levels, self.properties = slow.vendor, slow.levels, slow.properties
        self.mpp, self.objective, self.icc = slow.mpp, slow.objective, slow.icc
        self.background, self.associated = slow.background, slow.associated
        self.shrinks = tuple(s for s in levels[0].shrinks if all(s in level.shrinks for level in levels))
        geometries = [level.geometry for level in levels]
        self._image = TiledImage(identity(path), geometries, self._decode, slow.background)
        self.read, self.probe = self._image.read, self._image.probe

    @property
    def damaged(self) -> int:
        return self._image.damaged

    def _decode(self, level: int, row: int, column: int, shrink: int) -> RGB:
        try:
            return self._levels[level].decode(self._file.fetch, row, column, shrink)
        except SlideError:
            raise
        except Exception as failure:
            return self._rescued(level, row, column, shrink, failure)

    def _rescued(self, level: int, row: int, column: int, shrink: int, failure: Exception) -> RGB:
        """A tile as OpenSlide reads it: it fills unscanned areas, and supports unusual JPEG streams."""
        (rows, columns), extent = self._levels[level].geometry.tile, self.levels[level].shape
        y, x = row * rows, column * columns
        height, width = min(rows, extent[0] - y), min(columns, extent[1] - x)
        try:
            tile = self._slow.read_strictly(level, y, x, height, width)
        except DamagedWindow as error:  # any other error: the slide is closed or was removed
            if not isinstance(failure, MissingSegment):
                raise ValueError(str(error)) from failure
            tile = np.full((height, width, 3), self.background, np.uint8)
        return tile if shrink == 1 else np.asarray(Image.fromarray(tile).reduce(shrink))

    def associated_image(self, name: str) -> RGB:
        return self._slow.associated_image(name)

    def close(self) -> None:
        self._file.close()
        self._slow.close()
        self._image.close()
