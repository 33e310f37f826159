"""Fast reader for formats that OpenSlide supports: tiles are decoded directly and shared by all readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffPage

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level, Reader
from napari_zoommil.slides.readers.openslide import DamagedWindow, OpenSlideReader
from napari_zoommil.slides.readers.orientation import oriented
from napari_zoommil.slides.readers.shared_file import SharedFile, check_pages, open_tiff
from napari_zoommil.slides.readers.tiff import TiffReader, common_shrinks
from napari_zoommil.slides.readers.tiff_images import StoredImage, images_of
from napari_zoommil.slides.readers.tiff_levels import levels_of, ratio_of
from napari_zoommil.slides.readers.tiff_others import AssociatedImages
from napari_zoommil.slides.readers.tiff_segments import (
    MissingSegment,
    RefusedPage,
    Segments,
    UnreadablePage,
    segments_of,
)
from napari_zoommil.slides.readers.tiles import TiledImage, identity

GENERIC = "generic-tiff"

VENDORS = ("aperio", GENERIC)
"""Formats with plain TIFF tiles; in others tiles overlap, are incomplete or have an index of their own."""


def _accelerated(slow: OpenSlideReader, path: Path) -> Reader | None:
    """The same slide, read tile by tile; None if that is not possible."""
    if slow.vendor not in VENDORS:
        return None
    file = None
    try:
        with open_tiff(path) as tiff:
            found = _stored(slow, tiff)
            if any(len(pages) > 1 for pages in found.levels):  # OpenSlide would show one channel of them
                slow.close()
                return TiffReader.open(path)
            file = SharedFile(path)
            reader = FastReader(slow, path, file, found)
    except RefusedPage as error:
        if file is not None:
            file.close()
        slow.close()
        raise UnsupportedSlideError(f"{path.name} {error}") from error
    except SlideError:
        raise
    except Exception:  # tifffile failed, but OpenSlide can read the file
        if file is not None:
            file.close()
        return None
    try:
        reader.probe(path.name)
    except SlideError:
        reader.close()
        raise
    return oriented(reader, found.orientation)


@dataclass(frozen=True, eq=False)
class _Stored:
    """What tifffile finds: the pages of each level, the pixel size, and the images besides the slide."""

    levels: list[list[TiffPage]]
    mpp: Pair | None
    others: list[StoredImage]

    @property
    def orientation(self) -> int:
        return int(self.levels[0][0].tags.valueof("Orientation", 1))


def _stored(slow: OpenSlideReader, tiff: TiffFile) -> _Stored:
    """OpenSlide knows what scanners mean by their pages; of other TIFFs it knows less than there is."""
    if slow.vendor == GENERIC:
        slide, *others = images_of(tiff, {level.shape for level in slow.levels})
        return _Stored(list(slide.levels), slide.mpp, others)
    pages = [_page_of(level.shape, tiff) for level in slow.levels]
    if slow.vendor == "aperio" and not all(all(page.databytecounts) for page in pages[:-1]):
        raise ValueError("OpenSlide fills missing tiles in its own way")
    return _Stored([[page] for page in pages], slow.mpp, [])


def _is_ome(path: Path) -> bool:
    try:
        with open_tiff(path) as tiff:
            return tiff.is_ome
    except SlideError:
        raise
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


def _segments(levels: Sequence[list[TiffPage]], slow: OpenSlideReader, file: SharedFile) -> list[Segments]:
    """The segments of each level; one that OpenSlide does not know either is left out if it is unreadable."""
    found = [segments_of(levels[0], file.fetch)]
    for pages in levels[1:]:
        try:
            found.append(segments_of(pages, file.fetch, found[0].white))
        except UnreadablePage:
            if _index(slow, (pages[0].imagelength, pages[0].imagewidth)) is not None:
                raise
    return found


def _index(slow: OpenSlideReader, shape: tuple[int, int]) -> int | None:
    """The level of OpenSlide that has this extent."""
    return next((at for at, level in enumerate(slow.levels) if level.shape == shape), None)


class FastReader:
    """Metadata from OpenSlide, pixels from the tiles, and OpenSlide again for tiles that fail."""

    accepts = staticmethod(OpenSlideReader.accepts)

    @staticmethod
    def open(path: Path) -> Reader:
        """Open a slide with the fastest reader that supports it."""
        if TiffReader.accepts(path) and _is_ome(path):  # OpenSlide would take it for a plain TIFF
            return TiffReader.open(path)
        check_pages(path)
        slow = OpenSlideReader(path)
        return _accelerated(slow, path) or cast(Reader, slow)

    def __init__(self, slow: OpenSlideReader, path: Path, file: SharedFile, found: _Stored) -> None:
        self._name = path.name
        self._slow, self._file, self._levels = slow, file, _segments(found.levels, slow, file)
        self.vendor, self.properties = slow.vendor, slow.properties
        geometries = [level.geometry for level in self._levels]
        self._known = {
            at: known for at, one in enumerate(geometries) if (known := _index(slow, one.shape)) is not None
        }
        self.levels = self._placed(levels_of(geometries))
        self.mpp = (slow.mpp if 0 in self._known else None) or found.mpp
        self.objective, self.icc, self.background = slow.objective, slow.icc, slow.background
        self._others = AssociatedImages(found.others, file.fetch)
        self.associated = (*slow.associated, *self._others.names)
        self.shrinks = common_shrinks(self._levels)
        self._image = TiledImage(identity(path), geometries, self._decode, slow.background)
        self.read, self.probe = self._image.read, self._image.probe

    def _placed(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        """The levels with OpenSlide's downsamples, which are means of both directions, where there are such;
        it does not know of padding."""
        if 0 not in self._known:
            return levels
        own = {at: self._slow.levels[known] for at, known in self._known.items()}
        shape = levels[0].shape
        padded = [one for one in levels if one.downsample != ratio_of(one.shape, shape)]
        return tuple(own[at] if at in own and one not in padded else one for at, one in enumerate(levels))

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
            if level not in self._known:
                raise DamagedWindow(str(failure))
            tile = self._slow.read_strictly(self._known[level], y, x, height, width)
        except DamagedWindow as error:  # any other error: the slide is closed or was removed
            if not isinstance(failure, MissingSegment):
                raise ValueError(str(error)) from failure
            tile = np.full((height, width, 3), self.background, np.uint8)
        return tile if shrink == 1 else np.asarray(Image.fromarray(tile).reduce(shrink))

    def associated_image(self, name: str) -> RGB:
        if name in self._others.names:
            return self._others.read(name, self._name)
        return self._slow.associated_image(name)

    def close(self) -> None:
        self._file.close()
        self._slow.close()
        self._image.close()
