"""JPEG and PNG files as slides of one level."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from napari_zoommil.errors import SlideError, UnsupportedSlideError, first_line
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level, Reader
from napari_zoommil.slides.readers.colour import Colour, to_rgb, white_of
from napari_zoommil.slides.readers.orientation import oriented

LIMIT_MPX = 400
"""Largest image that is read, million px: decoded whole, it takes 1.2 GB, and 3 GB during decoding."""

DEFLATE = 1032
"""Times by which deflate, which PNG uses, can shrink."""

BITS = {"RGB": 24, "RGBA": 32, "LA": 16, "I;16": 16}
"""Least bits of a pixel in a PNG, by Pillow's mode; a grey or palette one may have a single bit."""

MOST_PX_PER_JPEG_BYTE = 1024
"""The same of JPEG, which spends a bit on a block of 64 px at least, and less only in long even runs."""

BAND_PX = 1 << 22
"""Pixels converted to RGB at once, so that intermediate images stay small."""

END_OF_JPEG = b"\xff\xd9"

BROKEN = (OSError, SyntaxError, ValueError, struct.error)
"""Exceptions of Pillow's decoders on truncated or corrupt files."""


class _PNG(PngImageFile):
    def load_end(self) -> None:
        with suppress(*BROKEN):  # chunks after the pixels cannot change them
            super().load_end()


FORMATS: dict[bytes, tuple[str, type[ImageFile]]] = {
    b"\xff\xd8\xff": ("JPEG", JpegImageFile),
    b"\x89PNG\r\n\x1a\n": ("PNG", _PNG),
}
"""Pillow's classes by the first bytes of a file. They are used directly: Image.open has a size limit
that only a process-wide setting can change."""


def _format(path: Path) -> tuple[str, type[ImageFile]] | None:
    with open(path, "rb") as file:
        start = file.read(8)
    return next((found for magic, found in FORMATS.items() if start.startswith(magic)), None)


class ImageReader:
    """Reader for a JPEG or PNG file, which is decoded whole on the first read and kept in memory.

    Grey is repeated, palettes are resolved, alpha is composited on white, 16-bit grey is scaled as in
    :mod:`~napari_zoommil.slides.readers.colour`; of 16-bit colour the upper bytes are used. The
    resolution in such files is ignored: it is a print density.

    Attributes
    ----------
    orientation : int
        EXIF orientation, 1 if not stated; applied by :meth:`open`.
    """

    @staticmethod
    def accepts(path: Path) -> bool:
        try:
            return path.is_file() and _format(path) is not None
        except OSError:
            return False

    @classmethod
    def open(cls, path: Path) -> Reader:
        """The image in its EXIF orientation.

        Raises
        ------
        SlideError
            If the file's header is broken.
        UnsupportedSlideError
            If it has more than 400 million pixels.
        """
        reader = cls(path)
        return oriented(reader, reader.orientation)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._pixels: RGB | None = None
        self._closed = False
        self._damaged = 0
        try:
            self._describe()
        except BROKEN as error:
            raise SlideError(f"{path.name} cannot be opened: {first_line(error)}") from error

    def _describe(self) -> None:
        form = _format(self._path)
        if form is None:
            raise UnsupportedSlideError(f"{self._path.name} is neither a JPEG nor a PNG")
        self._form, self._opener = form
        with self._opener(self._path) as image:
            self.orientation = _orientation(image)
            self.icc = _rgb_profile(image)
            self.properties: Mapping[str, str] = {"mode": image.mode}
            width, height = image.size
        if width * height > LIMIT_MPX * 1_000_000:
            raise UnsupportedSlideError(self._too_large(width * height / 1e6))
        of_png = DEFLATE * 8 / BITS.get(self.properties["mode"], 1)
        most = MOST_PX_PER_JPEG_BYTE if self._form == "JPEG" else of_png
        if width * height > most * self._path.stat().st_size:
            raise SlideError(
                f"{self._path.name} states {width:,} × {height:,} px, far more than its "
                f"{self._path.stat().st_size:,} bytes can hold; try another copy of it"
            )
        self.levels: tuple[Level, ...] = (Level((height, width), (1.0, 1.0)),)
        self.shrinks: tuple[int, ...] = (1,)
        self.vendor = self._form.lower()
        self.mpp: Pair | None = None
        self.objective: float | None = None
        self.background = (255, 255, 255)
        self.associated: tuple[str, ...] = ()

    def _too_large(self, mpx: float) -> str:
        name, tiled = self._path.name, f"{self._path.stem}.tif"
        return (
            f"{name} has {mpx:.0f} million pixels, and a {self._form} of more than {LIMIT_MPX} million "
            "is not read, as it can only be decoded whole: convert it to a tiled pyramidal TIFF, e.g. with "
            f"`vips tiffsave {name} {tiled} --tile --pyramid --compression jpeg`"
        )

    @property
    def damaged(self) -> int:
        return self._damaged

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        return self._whole()[y : y + height, x : x + width].copy()

    def _whole(self) -> RGB:
        with self._lock:
            if self._closed:
                raise SlideError(f"{self._path.name} was closed")
            if self._pixels is None:
                self._pixels = self._decode()
            return self._pixels

    def _decode(self) -> RGB:
        try:
            with self._opener(self._path) as image:
                try:
                    image.load()
                except BROKEN:
                    pixels = self._salvaged(image)
                    self._damaged = 1
                    return pixels
                return _rgb(image, image.height)
        except BROKEN as error:
            raise SlideError(f"{self._path.name} cannot be decoded: {first_line(error)}") from error

    def _salvaged(self, image: ImageFile) -> RGB:
        """The decodable part of a truncated or corrupt file; the rest is background."""
        if image.info.get("progressive"):
            # Without an end marker Pillow returns nothing; with one, all scans decoded so far.
            with self._opener(BytesIO(self._path.read_bytes() + END_OF_JPEG)) as ended:
                ended.load()
                return _rgb(ended, ended.height)
        image.tile = []  # nothing left to decode: Pillow returns the pixels it has
        reached = image.getbbox(alpha_only=False)  # rows that were not decoded are zero
        if reached is None or image.info.get("interlace"):  # of an interlaced image no row is complete
            raise SlideError(f"{self._path.name} is cut off or corrupt; nothing of it can be shown")
        return _rgb(image, reached[3])

    def associated_image(self, name: str) -> RGB:
        raise SlideError(f"{self._path.name} has no image {name!r}")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._pixels = None


def _orientation(image: ImageFile) -> int:
    """EXIF orientation, 1 if not stated."""
    try:
        # Not getexif of the PNG class, which decodes all pixels to read the chunks after them.
        return int(Image.Image.getexif(image).get(Base.Orientation, 1))
    except (*BROKEN, TypeError, LookupError):
        return 1


def _rgb_profile(image: ImageFile) -> bytes | None:
    """The colour profile if it is for RGB pixels; CMYK and grey are converted without a profile."""
    profile: bytes = image.info.get("icc_profile") or b""
    return profile if image.mode in ("RGB", "RGBA", "P") and profile[16:20] == b"RGB " else None


def _bands(image: ImageFile, rows: int) -> Iterator[Image.Image]:
    step = max(1, BAND_PX // image.width)
    for top in range(0, rows, step):
        yield image.crop((0, top, image.width, min(top + step, rows)))


def _rgb(image: ImageFile, rows: int) -> RGB:
    """The first ``rows`` rows as RGB and the others white, (height, width, 3)."""
    pixels = np.full((image.height, image.width, 3), 255, np.uint8)
    deep = image.mode.startswith("I")  # 16-bit grey
    white = white_of(np.asarray(band) for band in _bands(image, rows)) if deep else 255
    colour = Colour("grey" if deep else "rgb", white)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    done = 0
    for band in _bands(image, rows):
        samples = np.asarray(band)[..., None] if deep else np.asarray(band.convert(mode))
        pixels[done : done + band.height] = to_rgb(samples, colour)
        done += band.height
    return pixels
