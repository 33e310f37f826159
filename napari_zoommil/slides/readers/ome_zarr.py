"""OME-Zarr images (NGFF 0.4 and 0.5), also in the layout of bioformats2raw."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_zoommil.errors import SlideError, UnsupportedSlideError, first_line
from napari_zoommil.slides.readers.base import RGB, Level, plausible
from napari_zoommil.slides.readers.colour import Colour, to_rgb, white_of
from napari_zoommil.slides.readers.ome_zarr_images import ZarrImage, images_of
from napari_zoommil.slides.readers.tiles import TiledImage, TiledLevel, identity

if TYPE_CHECKING:
    import zarr

PROBES = 64
"""Chunks that are read to estimate the white of deep pixels."""


def _root(path: Path) -> zarr.Group:
    import zarr  # slow to import, and other formats do not need it

    from napari_zoommil.slides.readers.ome_zarr_store import BoundedStore

    try:
        return zarr.open_group(BoundedStore(path, read_only=True), mode="r")
    except (LookupError, ValueError, OSError, TypeError) as error:
        raise UnsupportedSlideError(f"{path.name} is not an OME-Zarr image: {first_line(error)}") from error


class OMEZarrReader:
    """Reader over an OME-Zarr, of its largest image; grey images become RGB by repetition."""

    @staticmethod
    def accepts(path: Path) -> bool:
        return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))

    @classmethod
    def open(cls, path: Path) -> OMEZarrReader:
        return cls(path)

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._root = _root(path)
        try:
            self._slide, *others = images_of(self._root, path)
        except (LookupError, ValueError, TypeError, AttributeError, OSError) as error:
            raise UnsupportedSlideError(
                f"{path.name} has unusable OME-Zarr metadata: {first_line(error)}"
            ) from error
        self._others = _named(others)
        self._describe()
        tiles = [TiledLevel(self._slide.extent(at), self._slide.chunk(at)) for at in range(len(self.levels))]
        self._image = TiledImage(identity(path), tiles, self._chunk, self.background)
        self.read = self._image.read

    def _describe(self) -> None:
        slide = self._slide
        shapes = [slide.extent(at) for at in range(len(slide.arrays))]
        # Downsamples from the shapes: some writers state a factor of 2 when the shapes give 3.87.
        self.levels = tuple(
            Level(shape, (shapes[0][0] / shape[0], shapes[0][1] / shape[1])) for shape in shapes
        )
        self.mpp = plausible(slide.mpp)
        self.objective = slide.objective
        self.vendor = "ome-zarr"
        self.background = (255, 255, 255)
        self.shrinks = (1,)
        self.icc: bytes | None = None
        self.properties = {"version": slide.version}
        self.associated = tuple(sorted(self._others))
        self._colour = Colour(slide.model, _white(slide))

    @property
    def damaged(self) -> int:
        return self._image.damaged

    def _chunk(self, level: int, row: int, column: int, _shrink: int) -> RGB:
        window = _window(row, column, self._image.levels[level].tile)
        return to_rgb(self._slide.samples(level, *window), self._colour)

    def associated_image(self, name: str) -> RGB:
        image = self._others[name]
        try:
            samples = image.samples(0, slice(None), slice(None))
            return to_rgb(samples, Colour(image.model, _white(image)))
        except Exception as error:  # each codec raises errors of its own
            raise SlideError(f"{self._name} cannot be read in its {name}: {first_line(error)}") from error

    def close(self) -> None:
        self._root.store.close()
        self._image.close()


def _named(images: list[ZarrImage]) -> dict[str, ZarrImage]:
    """Images by their names; of two of one name the second has a number."""
    found: dict[str, ZarrImage] = {}
    for at, image in enumerate(images, 1):
        found[f"{image.name} {at}" if image.name in found else image.name] = image
    return found


def _window(row: int, column: int, tile: tuple[int, int]) -> tuple[slice, slice]:
    return slice(row * tile[0], (row + 1) * tile[0]), slice(column * tile[1], (column + 1) * tile[1])


def _white(image: ZarrImage) -> int:
    """White of the samples; of deep ones by some chunks of the finest level, as of a TIFF."""
    dtype, tile = image.arrays[0].dtype, image.chunk(0)
    if dtype.itemsize == 1:
        return 1 if dtype.kind == "b" else 255
    rows, columns = (math.ceil(extent / edge) for extent, edge in zip(image.extent(0), tile, strict=True))
    found = []
    for index in np.linspace(0, rows * columns - 1, min(PROBES, rows * columns)).astype(int):
        with suppress(Exception):  # a damaged chunk is skipped
            found.append(image.samples(0, *_window(*divmod(int(index), columns), tile)))
    return white_of(found)
