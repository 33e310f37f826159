"""Fixtures for slides: real formats written small, and slides in memory that count what is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB, Level
from napari_zoommil.slides.slide import Slide, as_pair


class ArrayReader:
    """A slide held in memory that writes down what is read from it."""

    vendor = "array"
    objective: float | None = None
    properties: Mapping[str, str] = MappingProxyType({})
    background = (240, 241, 242)
    associated = ()
    shrinks = (1,)
    icc = None
    damaged = 0

    def __init__(self, images: Sequence[NDArray[np.uint8]], mpp: Pair | None) -> None:
        self.images = images
        self.mpp = mpp
        full = images[0].shape
        self.levels = tuple(
            Level(image.shape[:2], (full[0] / image.shape[0], full[1] / image.shape[1])) for image in images
        )
        self.reads: list[tuple[int, int, int, int, int]] = []

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        assert shrink == 1
        self.reads.append((level, y, x, height, width))
        extent = self.levels[level].shape
        assert y >= 0 and x >= 0 and y + height <= extent[0] and x + width <= extent[1], "outside the level"
        return np.ascontiguousarray(self.images[level][y : y + height, x : x + width])

    def close(self) -> None:
        pass


@pytest.fixture
def array_slide(tmp_path: Path) -> Callable[..., Slide]:
    """``array_slide(images, mpp=0.5)``: a slide in memory; ``slide._reader.reads`` counts."""

    def build(*images: NDArray[np.uint8], mpp: float | Pair | None = 0.5) -> Slide:
        path = tmp_path / "array.slide"
        path.write_bytes(repr([image.shape for image in images]).encode())
        return Slide(path, ArrayReader(images, None), as_pair(mpp))

    return build


@pytest.fixture
def tiff(tmp_path: Path) -> Callable[..., Path]:
    """``tiff(name, images, mpp=(y, x))``: a tiled pyramidal TIFF that OpenSlide reads."""

    def write(
        name: str, *images: NDArray[np.uint8], mpp: Pair | None = None, dpi: float | None = None
    ) -> Path:
        path = tmp_path / name
        first: dict[str, Any] = {}
        if mpp:
            first = {"resolution": (1e4 / mpp[1], 1e4 / mpp[0]), "resolutionunit": "CENTIMETER"}
        if dpi:
            first = {"resolution": (dpi, dpi), "resolutionunit": "INCH"}
        with tifffile.TiffWriter(path) as file:
            for index, image in enumerate(images):
                tags = {"subfiletype": 1} if index else first
                file.write(image, tile=(128, 128), photometric="rgb", compression="deflate", **tags)
        return path

    return write


@pytest.fixture
def ome_zarr(tmp_path: Path) -> Callable[..., Path]:
    """``ome_zarr(name, images, axes="yxc", …)``: an OME-Zarr image of arrays in ``axes`` order."""

    def write(
        name: str,
        *images: NDArray[Any],
        axes: str = "yxc",
        zarr_format: Literal[2, 3] = 2,
        unit: str | None = "micrometer",
        mpp: Pair | None = (0.5, 0.5),
        group: str = "",
        title: str = "",
        **array_options: Any,
    ) -> Path:
        path = tmp_path / name
        root = zarr.open_group(path, mode="a", zarr_format=zarr_format)
        target = root.require_group(group) if group else root
        datasets = []
        for index, image in enumerate(images):
            chunks = tuple(min(48, edge) for edge in image.shape)
            array = target.create_array(
                str(index), shape=image.shape, dtype=image.dtype, chunks=chunks, **array_options
            )
            array[...] = image
            dataset: dict[str, Any] = {"path": str(index)}
            if mpp:
                scale = [dict(zip("yx", mpp, strict=True)).get(axis, 1.0) for axis in axes]
                dataset["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
            datasets.append(dataset)
        named = [{"name": axis, **({"unit": unit} if unit and axis in "yx" else {})} for axis in axes]
        scales = {"version": "0.4", "name": title, "axes": named, "datasets": datasets}
        if zarr_format == 2:
            target.attrs["multiscales"] = [scales]
        else:
            target.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
        return path

    return write
