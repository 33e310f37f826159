"""Slides that OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, VMS, tiled TIFF, DICOM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

from napari_zoommil.errors import SlideError
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.reader import RGB, Level, plausible

CACHE_BYTES = 128 << 20
"""Decoded tiles kept per open slide; about two rows of a wide viewport."""


FILES_TRIED = 64
"""Files of a folder that are looked at for DICOM before it counts as none."""


def entry_file(path: Path) -> Path:
    """The file OpenSlide is to be given: a DICOM folder is opened by any of its files.

    Of any other folder none is taken: it may hold many slides.
    """
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    files = files[:FILES_TRIED]
    return next((file for file in files if openslide.OpenSlide.detect_format(file) == "dicom"), path)


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
        self.properties: Mapping[str, str] = dict(slide.properties)
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

    def _open(self) -> openslide.OpenSlide:
        try:
            slide = openslide.OpenSlide(self._file)
            slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(f"{self._name} cannot be opened: {error}") from error
        return slide

    def _number(self, key: str) -> float | None:
        """A stated quantity; None where it is missing or not a positive number."""
        try:
            value = float(self.properties[key])
        except (KeyError, ValueError):
            return None
        return value if 0 < value < float("inf") else None

    def _stated_mpp(self) -> Pair | None:
        y, x = self._number(openslide.PROPERTY_NAME_MPP_Y), self._number(openslide.PROPERTY_NAME_MPP_X)
        return (y or x, x or y) if y or x else None  # type: ignore[return-value]

    def read(self, level: int, y: int, x: int, height: int, width: int) -> RGB:
        downsample = self.levels[level].downsample[0]
        location = (round(x * downsample), round(y * downsample))
        return self._on_background(
            self._image(
                lambda slide: slide.read_region(location, level, (width, height)),
                f"at y {y}, x {x} of level {level}",
            )
        )

    def _image(self, decode: Callable[[openslide.OpenSlide], Image.Image], where: str) -> Image.Image:
        """What ``decode`` makes of the slide.

        One damaged tile condemns an OpenSlide handle for good, and with it the windows of other
        threads, so a failure is tried again on a handle of its own before it counts.
        """
        slide = self._slide
        if slide is None:
            raise SlideError(f"{self._name} was closed")
        try:
            return decode(slide)
        except openslide.OpenSlideError:
            fresh = self._open()
        try:
            return decode(fresh)
        except openslide.OpenSlideError as error:
            fresh = self._open()
            raise SlideError(f"{self._name} cannot be read {where}: {error}") from error
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
        self._slide = None  # closed by the last thread that still reads from it
