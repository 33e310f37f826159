"""OME-Zarr images (NGFF 0.4 and 0.5), also as bioformats2raw lays them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import zarr
from cachetools import LRUCache

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.reader import RGB, Level, plausible

CACHE_BYTES = 128 << 20
MICRONS = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """NGFF 0.5 keeps its metadata under ``ome``, 0.4 at the top."""
    return attributes.get("ome", attributes)


def _image_group(path: Path) -> tuple[zarr.Group, zarr.Group]:
    """The root and the group that holds the slide's multiscales (series 0 of a multi-image file)."""
    try:
        root = zarr.open_group(path, mode="r")
        if "multiscales" in _ome(root.attrs):
            return root, root
        series = root["0"]
        if isinstance(series, zarr.Group) and "multiscales" in _ome(series.attrs):
            return root, series
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise UnsupportedSlideError(f"{path.name} is not an OME-Zarr image: {error}") from error
    raise UnsupportedSlideError(f"{path.name} is a zarr without an OME-Zarr image in it")


class OMEZarrReader:
    """Reader over an OME-Zarr image; grey images become RGB by repetition."""

    @staticmethod
    def accepts(path: Path) -> bool:
        return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._root, self._group = _image_group(path)
        self._cache: LRUCache[tuple[int, int, int], RGB] = LRUCache(CACHE_BYTES, getsizeof=lambda a: a.nbytes)
        self._lock = Lock()
        try:
            self._describe()
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise UnsupportedSlideError(f"{path.name} has unusable OME-Zarr metadata: {error}") from error

    def _describe(self) -> None:
        scales = _ome(self._group.attrs)["multiscales"][0]
        axes = scales["axes"]
        self._axes = [axis["name"] if isinstance(axis, dict) else axis for axis in axes]
        self._arrays = [self._array(self._group, dataset["path"]) for dataset in scales["datasets"]]
        shapes = [self._extent(array) for array in self._arrays]
        # Downsamples from the shapes: writers state a nominal factor 2 where the data says 3.87.
        self.levels = tuple(
            Level(shape, (shapes[0][0] / shape[0], shapes[0][1] / shape[1])) for shape in shapes
        )
        self.mpp = plausible(self._stated_mpp(axes, scales))
        self.objective: float | None = None
        self.vendor = "ome-zarr"
        self.background = (255, 255, 255)
        self.properties = {"version": str(scales.get("version", _ome(self._group.attrs).get("version", "")))}
        self.associated = tuple(sorted(self._others()))

    def _array(self, group: zarr.Group, name: str) -> zarr.Array[Any]:
        array = group.get(name)
        if not isinstance(array, zarr.Array):
            raise UnsupportedSlideError(f"{self._name} has no pixels at {group.path}/{name}")
        if array.ndim != len(self._axes):
            raise UnsupportedSlideError(
                f"{self._name} names {len(self._axes)} axes for {array.ndim}-D pixels"
            )
        channels = array.shape[self._axes.index("c")] if "c" in self._axes else 1
        if array.dtype != np.uint8 or channels not in (1, 3):
            raise UnsupportedSlideError(
                f"{self._name} holds {channels} channels of {array.dtype}, not an RGB or grey 8-bit image"
            )
        return array

    def _extent(self, array: zarr.Array[Any]) -> tuple[int, int]:
        return array.shape[self._axes.index("y")], array.shape[self._axes.index("x")]

    def _stated_mpp(self, axes: list[Any], scales: Mapping[str, Any]) -> Pair | None:
        units = [MICRONS.get(axis.get("unit", "")) if isinstance(axis, dict) else None for axis in axes]
        stated = [
            np.asarray(transform["scale"], float)
            for owner in (scales["datasets"][0], scales)
            for transform in owner.get("coordinateTransformations", ())
            if transform.get("type") == "scale"
        ]
        if not stated:
            return None
        factors = np.prod(stated, 0)
        size = []
        for name in "yx":
            axis = self._axes.index(name)
            unit = units[axis]
            if unit is None:
                return None
            size.append(float(factors[axis]) * unit)
        return size[0], size[1]

    def _others(self) -> dict[str, zarr.Group]:
        """Further images of a multi-image file by the name their writer gave them."""
        if self._root is self._group:
            return {}
        found = {}
        for key, group in self._root.groups():
            scales = _ome(group.attrs).get("multiscales")
            if scales and key != "0":
                found[str(scales[0].get("name") or key).removesuffix(" image")] = group
        return found

    def read(self, level: int, y: int, x: int, height: int, width: int) -> RGB:
        array = self._arrays[level]
        rows, columns = (array.chunks[self._axes.index(name)] for name in "yx")
        out = np.empty((height, width, 3), np.uint8)
        for row in range(y // rows, -(-(y + height) // rows)):
            for column in range(x // columns, -(-(x + width) // columns)):
                tile = self._tile(level, row, column, (rows, columns))
                top, left = row * rows, column * columns
                y0, y1 = max(y, top), min(y + height, top + tile.shape[0])
                x0, x1 = max(x, left), min(x + width, left + tile.shape[1])
                out[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def _tile(self, level: int, row: int, column: int, chunk: tuple[int, int]) -> RGB:
        key = (level, row, column)
        with self._lock:
            if key in self._cache:
                return self._cache[key]
        window = {
            "y": slice(row * chunk[0], (row + 1) * chunk[0]),
            "x": slice(column * chunk[1], (column + 1) * chunk[1]),
        }
        tile = self._rgb(self._arrays[level], window)
        with self._lock:
            if tile.nbytes <= CACHE_BYTES:
                self._cache[key] = tile
        return tile

    def _rgb(self, array: zarr.Array[Any], window: Mapping[str, slice]) -> RGB:
        index = tuple(window.get(name, slice(None) if name == "c" else 0) for name in self._axes)
        try:
            block = np.asarray(array[index])
        except Exception as error:  # each codec raises errors of its own
            raise SlideError(f"{self._name} has a chunk that cannot be decoded: {error}") from error
        kept = [name for name in self._axes if name in "cyx"]
        if "c" not in kept:
            block, kept = block[None], ["c", *kept]
        block = block.transpose([kept.index(name) for name in "yxc"])
        return np.ascontiguousarray(np.broadcast_to(block, (*block.shape[:2], 3)))

    def associated_image(self, name: str) -> RGB:
        group = self._others()[name]
        first = self._array(group, _ome(group.attrs)["multiscales"][0]["datasets"][0]["path"])
        return self._rgb(first, {"y": slice(None), "x": slice(None)})

    def close(self) -> None:
        with self._lock:
            self._cache.clear()
        self._root.store.close()
