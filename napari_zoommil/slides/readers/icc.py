"""Colour management: pixels of slides with an ICC profile, converted to sRGB."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms

from napari_zoommil.slides.readers.base import RGB, Reader


def colour_managed(reader: Reader) -> Reader:
    """The reader with its pixels in sRGB; the reader itself if it has no usable RGB profile.

    A slide with a damaged profile is shown in raw colours; only an instance of
    :class:`ColourManagedReader` converts.
    """
    transform = reader.icc and to_srgb(reader.icc)
    return cast(Reader, ColourManagedReader(reader, transform)) if transform else reader


def to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The perceptual transform from an RGB profile to sRGB; None if the profile cannot be used.

    Several threads may use it at once: LittleCMS 2 does not write to a transform while it runs (each
    run has its own copy of the one-pixel cache), and Pillow releases the GIL.
    """
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # also if the profile is not for RGB
        return None


class ColourManagedReader:
    """A reader whose windows and background are converted to sRGB.

    All other attributes are those of the inner reader; ``icc`` too stays the file's profile. Label and
    macro images are not converted, because the profile describes the slide's pixels only.

    Parameters
    ----------
    reader : Reader
    transform : ImageCmsTransform
        From the colours of ``reader`` to sRGB; see :func:`to_srgb`.
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
