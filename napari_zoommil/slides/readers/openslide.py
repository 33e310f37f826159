"""Slides that OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, VMS, tiled TIFF, DICOM."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from napari_zoommil.errors import SlideError, first_line
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level, plausible
from napari_zoommil.slides.readers.tiles import damage_of, identity

CACHE_BYTES = 128 << 20
"""Decoded tiles kept per open slide; about two rows of a wide viewport."""

SQUARE = 256
"""Edge of the squares in which damage is recorded if the file states no tile size, px."""

FILES_TRIED = 64
"""Most files of a folder that are tested for DICOM."""


def entry_file(path: Path) -> Path:
    """The path to give to OpenSlide: for a DICOM folder any of its files.

    Any other folder is returned as it is: it may hold many slides.
    """
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    files = files[:FILES_TRIED]
    return next((file for file in files if openslide.OpenSlide.detect_format(file) == "dicom"), path)


def _readable(slide: openslide.OpenSlide) -> dict[str, str]:
    """The properties of a slide, without those whose names are damaged."""
    found = {}
    for name in slide.properties:
        with suppress(KeyError, UnicodeDecodeError):
            found[name] = slide.properties[name]
    return found


class DamagedWindow(SlideError):
    """A window with a tile that OpenSlide cannot decode."""


class OpenSlideReader:
    """Reader over one OpenSlide handle, which is thread-safe and has its own tile cache."""

    @staticmethod
    def accepts(path: Path) -> bool:
        return openslide.OpenSlide.detect_format(entry_file(path)) is not None

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = entry_file(path)
        self._slide: openslide.OpenSlide | None = self._open()
        slide = self._slide
        self.properties: Mapping[str, str] = _readable(slide)
        self.vendor = self.properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        self.levels = tuple(
            Level((height, width), (downsample, downsample))
            for (width, height), downsample in zip(
                slide.level_dimensions, slide.level_downsamples, strict=True
            )
        )
        self.mpp = plausible(self._stated_mpp())
        self.objective = self._number(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
        colour = self.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
        self.background = (int(colour[:2], 16), int(colour[2:4], 16), int(colour[4:6], 16))
        self.associated = tuple(slide.associated_images)
        self.shrinks = (1,)
        profile = slide.color_profile if "openslide.icc-size" in self.properties else None
        self.icc = profile.tobytes() if profile else None
        self._damaged = damage_of(identity(path))

    @property
    def damaged(self) -> int:
        return len(self._damaged)

    def _open(self) -> openslide.OpenSlide:
        try:
            slide = openslide.OpenSlide(self._file)
            slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(f"{self._name} cannot be opened: {error}") from error
        return slide

    def _number(self, key: str) -> float | None:
        """A numeric property; None if it is missing or not a positive number."""
        try:
            value = float(self.properties[key])
        except (KeyError, ValueError):
            return None
        return value if 0 < value < float("inf") else None

    def _stated_mpp(self) -> Pair | None:
        y, x = self._number(openslide.PROPERTY_NAME_MPP_Y), self._number(openslide.PROPERTY_NAME_MPP_X)
        return (y or x, x or y) if y or x else None  # type: ignore[return-value]

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        assert shrink in self.shrinks
        try:
            return self.read_strictly(level, y, x, height, width)
        except DamagedWindow:
            return self._square_by_square(level, y, x, height, width)

    def read_strictly(self, level: int, y: int, x: int, height: int, width: int) -> RGB:
        """As :meth:`read`, but raises :class:`DamagedWindow` if a tile of the window cannot be decoded."""
        downsample = self.levels[level].downsample[0]
        location = (round(x * downsample), round(y * downsample))
        return self._on_background(
            self._image(
                lambda slide: slide.read_region(location, level, (width, height)),
                f"at y {y}, x {x} of level {level}",
            )
        )

    def _square_by_square(self, level: int, y: int, x: int, height: int, width: int) -> RGB:
        """A window read square by square; squares that cannot be decoded become background."""
        rows, columns = (self._square_edge(level, edge) for edge in ("height", "width"))
        out = np.full((height, width, 3), self.background, np.uint8)
        for row in range(y // rows, math.ceil((y + height) / rows)):
            y0, y1 = max(row * rows, y), min((row + 1) * rows, y + height)
            for column in range(x // columns, math.ceil((x + width) / columns)):
                x0, x1 = max(column * columns, x), min((column + 1) * columns, x + width)
                if (level, row, column) in self._damaged:
                    continue
                part = out[y0 - y : y1 - y, x0 - x : x1 - x]
                try:
                    part[:] = self.read_strictly(level, y0, x0, y1 - y0, x1 - x0)
                except DamagedWindow:
                    self._damaged.add((level, row, column))
        return out

    def _square_edge(self, level: int, edge: str) -> int:
        """Edge of a stored tile, if the format states a sensible one; else ``SQUARE``."""
        stated = self._number(f"openslide.level[{level}].tile-{edge}")
        return int(stated) if stated and SQUARE / 4 <= stated <= SQUARE * 8 else SQUARE

    def _image(self, decode: Callable[[openslide.OpenSlide], Image.Image], where: str) -> Image.Image:
        """The result of ``decode`` on the slide.

        After one damaged tile an OpenSlide handle fails for ever, also for other threads; so a failure
        is repeated on a new handle before it counts.
        """
        slide = self._slide
        if slide is None:
            raise SlideError(f"{self._name} was closed")
        try:
            return decode(slide)
        except (openslide.OpenSlideError, MemoryError):
            fresh = self._open()
        try:
            return decode(fresh)
        except (openslide.OpenSlideError, MemoryError) as error:
            fresh = self._open()
            raise DamagedWindow(f"{self._name} cannot be read {where}: {first_line(error)}") from error
        finally:
            if self._slide is slide:
                self._slide = fresh

    def _on_background(self, image: Image.Image) -> RGB:
        alpha = image.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return np.asarray(image.convert("RGB"))
        canvas = Image.new("RGB", image.size, self.background)
        canvas.paste(image, mask=alpha)
        return np.asarray(canvas)

    def associated_image(self, name: str) -> RGB:
        return self._on_background(self._image(lambda slide: slide.associated_images[name], f"in its {name}"))

    def close(self) -> None:
        self._slide = None  # closed with the last reference, of a thread that still reads
