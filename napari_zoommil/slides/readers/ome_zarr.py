"""OME-Zarr images (NGFF 0.4 and 0.5), also in the layout of bioformats2raw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.errors import SlideError, UnsupportedSlideError, first_line
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level, plausible
from napari_zoommil.slides.readers.tiles import TiledImage, TiledLevel, identity

if TYPE_CHECKING:
    import zarr

MICRONS = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """NGFF 0.5 keeps its metadata under ``ome``, 0.4 at the top."""
    return attributes.get("ome", attributes)


def _image_group(path: Path) -> tuple[zarr.Group, zarr.Group]:
    """The root and the group that holds the slide's multiscales (series 0 of a multi-image file)."""
    import zarr  # slow to import, and other formats do not need it

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

    @classmethod
    def open(cls, path: Path) -> OMEZarrReader:
        return cls(path)

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._root, self._group = _image_group(path)
        try:
            self._describe()
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise UnsupportedSlideError(f"{path.name} has unusable OME-Zarr metadata: {error}") from error
        tiles = [TiledLevel(self._extent(array), self._extent(array, array.chunks)) for array in self._arrays]
        self._image = TiledImage(identity(path), tiles, self._chunk, self.background)
        self.read = self._image.read

    def _describe(self) -> None:
        scales = _ome(self._group.attrs)["multiscales"][0]
        axes = scales["axes"]
        self._axes = [axis["name"] if isinstance(axis, dict) else axis for axis in axes]
        self._arrays = [self._array(self._group, dataset["path"]) for dataset in scales["datasets"]]
        shapes = [self._extent(array) for array in self._arrays]
        # Downsamples from the shapes: some writers state a factor of 2 when the shapes give 3.87.
        self.levels = tuple(
            Level(shape, (shapes[0][0] / shape[0], shapes[0][1] / shape[1])) for shape in shapes
        )
        self.mpp = plausible(self._stated_mpp(axes, scales))
        self.objective: float | None = None
        self.vendor = "ome-zarr"
        self.background = (255, 255, 255)
        self.shrinks = (1,)
        self.icc: bytes | None = None
        self.properties = {"version": str(scales.get("version", _ome(self._group.attrs).get("version", "")))}
        self.associated = tuple(sorted(self._others()))

    def _array(self, group: zarr.Group, name: str) -> zarr.Array[Any]:
        import zarr

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

    def _extent(self, array: zarr.Array[Any], of: tuple[int, ...] | None = None) -> tuple[int, int]:
        """Height and width of an array, or of its chunks."""
        sizes = of or array.shape
        return sizes[self._axes.index("y")], sizes[self._axes.index("x")]

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
        """Further images of a multi-image file, by the name that their writer gave them."""
        if self._root is self._group:
            return {}
        found = {}
        for key, group in self._root.groups():
            scales = _ome(group.attrs).get("multiscales")
            if scales and key != "0":
                found[str(scales[0].get("name") or key).removesuffix(" image")] = group
        return found

    @property
    def damaged(self) -> int:
        return self._image.damaged

    def _chunk(self, level: int, row: int, column: int, _shrink: int) -> RGB:
        rows, columns = self._image.levels[level].tile
        window = {
            "y": slice(row * rows, (row + 1) * rows),
            "x": slice(column * columns, (column + 1) * columns),
        }
        return self._rgb(self._arrays[level], window)

    def _rgb(self, array: zarr.Array[Any], window: Mapping[str, slice]) -> RGB:
        index = tuple(window.get(name, slice(None) if name == "c" else 0) for name in self._axes)
        block = np.asarray(array[index])
        kept = [name for name in self._axes if name in "cyx"]
        if "c" not in kept:
            block, kept = block[None], ["c", *kept]
        block = block.transpose([kept.index(name) for name in "yxc"])
        return np.ascontiguousarray(np.broadcast_to(block, (*block.shape[:2], 3)))

    def associated_image(self, name: str) -> RGB:
        group = self._others()[name]
        first = self._array(group, _ome(group.attrs)["multiscales"][0]["datasets"][0]["path"])
        try:
            return self._rgb(first, {"y": slice(None), "x": slice(None)})
        except Exception as error:  # each codec raises errors of its own
            raise SlideError(f"{self._name} cannot be read in its {name}: {first_line(error)}") from error

    def close(self) -> None:
        self._root.store.close()
        self._image.close()
