"""Slides whose colours a profile describes, shown in sRGB."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms

from napari_zoommil.slides.readers.base import RGB, Reader


def colour_managed(reader: Reader) -> Reader:
    """The reader with its pixels in sRGB; itself where it has no RGB profile that can be used.

    A slide with a damaged profile is better seen in raw colours than not at all:
    only what is an instance of :class:`ColourManagedReader` is converted.
    """
    transform = reader.icc and to_srgb(reader.icc)
    return cast(Reader, ColourManagedReader(reader, transform)) if transform else reader


def to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The perceptual transform from an RGB profile to sRGB; None where the profile is of no use.

    It may serve several threads at once: LittleCMS 2 writes nothing into a transform that runs (even
    its one-pixel cache is a copy of each run's own), and Pillow releases the GIL meanwhile.
    """
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # also where the profile is not of RGB
        return None


class ColourManagedReader:
    """A reader whose windows and background are converted to sRGB.

    Whatever else a reader has is the inner reader's, ``icc`` too: it stays the file's profile. Label
    and macro stay as they are, as the profile is that of the slide's pixels.

    Parameters
    ----------
    reader : Reader
    transform : ImageCmsTransform
        From the colours of ``reader`` to sRGB, see :func:`to_srgb`.
    """

    def __init__(self, reader: Reader, transform: ImageCms.ImageCmsTransform) -> None:
        self._reader = reader
        self._transform = transform
        red, green, blue = self._converted(np.array([[reader.background]], np.uint8))[0, 0].tolist()
        self.background = (red, green, blue)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        """As :meth:`Reader.read`, in sRGB."""
        return self._converted(self._reader.read(level, y, x, height, width, shrink))

    def _converted(self, pixels: RGB) -> RGB:
        if not pixels.size:
            return pixels
        return np.array(self._transform.apply_in_place(Image.fromarray(pixels)))
