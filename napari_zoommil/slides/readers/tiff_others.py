"""Label, macro and other images of a TIFF besides the slide, each decoded whole when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from napari_zoommil.errors import SlideError, first_line
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.slides.readers.tiff_images import StoredImage
from napari_zoommil.slides.readers.tiff_segments import (
    Fetch,
    MissingSegment,
    Segments,
    UnreadablePage,
    segments_of,
)


class AssociatedImages:
    """The images of a file that are not its slide; those that cannot be read are left out."""

    def __init__(self, images: Sequence[StoredImage], fetch: Fetch) -> None:
        self._fetch = fetch
        self._segments: dict[str, Segments] = {}
        for image in images:
            with suppress(UnreadablePage):
                self._segments[image.name] = segments_of(image.levels[0], fetch)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._segments)

    def read(self, name: str, file: str) -> RGB:
        """An image, (height, width, 3); ``file`` is the file's name for error messages.

        Raises
        ------
        SlideError
            If there is none of that name, or it cannot be decoded.
        """
        if name not in self._segments:
            raise SlideError(f"{file} has no image {name!r}")
        try:
            return self._whole(self._segments[name])
        except SlideError:
            raise
        except Exception as error:  # each codec raises errors of its own
            raise SlideError(f"{file} cannot be read in its {name}: {first_line(error)}") from error

    def _whole(self, segments: Segments) -> RGB:
        (height, width), (rows, columns) = segments.geometry.shape, segments.geometry.tile
        out = np.full((height, width, 3), 255, np.uint8)
        for row in range(math.ceil(height / rows)):
            for column in range(math.ceil(width / columns)):
                part = out[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
                with suppress(MissingSegment):
                    part[:] = segments.decode(self._fetch, row, column, 1)[: part.shape[0], : part.shape[1]]
        return out
