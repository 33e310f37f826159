"""TIFF files that OpenSlide does not open: OME-TIFF, flat and striped files, grey, CMYK, 16 bits.

The largest image of the file is read, at its first time point and focal plane, with all its resolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffFileError

from napari_zoommil.errors import SlideError, UnsupportedSlideError, first_line
from napari_zoommil.slides.readers.base import RGB, Reader
from napari_zoommil.slides.readers.orientation import oriented
from napari_zoommil.slides.readers.shared_file import SharedFile, open_tiff
from napari_zoommil.slides.readers.tiff_images import images_of
from napari_zoommil.slides.readers.tiff_levels import levels_of
from napari_zoommil.slides.readers.tiff_others import AssociatedImages
from napari_zoommil.slides.readers.tiff_segments import MissingSegment, Segments, UnreadablePage, segments_of
from napari_zoommil.slides.readers.tiles import TiledImage, identity

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF."""

BACKGROUND = (255, 255, 255)


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
        image, *others = images_of(tiff)
        first, *coarser = image.levels
        self._levels = [segments_of(first, self._file.fetch)]
        for pages in coarser:
            with suppress(UnreadablePage):  # levels that cannot be read are left out
                self._levels.append(segments_of(pages, self._file.fetch, self._levels[0].white))
        page = first[0]
        self.levels = levels_of([segments.geometry for segments in self._levels])
        self.shrinks = common_shrinks(self._levels)
        self.vendor = "ome-tiff" if tiff.is_ome else "tiff"
        self.mpp, self.objective = image.mpp, image.objective
        self.orientation = int(page.tags.valueof("Orientation", 1))
        self.background = BACKGROUND
        self._others = AssociatedImages(others, self._file.fetch)
        self.associated = self._others.names
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
        return self._others.read(name, self._name)

    def close(self) -> None:
        self._file.close()
        self._image.close()


def common_shrinks(levels: Sequence[Segments]) -> tuple[int, ...]:
    """Factors by which tiles of all levels can be reduced while decoding."""
    return tuple(one for one in levels[0].shrinks if all(one in level.shrinks for level in levels))
