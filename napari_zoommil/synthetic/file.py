"""Writing of synthetic slides: a generic pyramidal TIFF and the outline as GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from tifffile import TiffWriter

from napari_zoommil.files import replacing, write_file
from napari_zoommil.read_ahead import in_order
from napari_zoommil.synthetic.compose import Image
from napari_zoommil.synthetic.nuclei import UM_PER_PX
from napari_zoommil.synthetic.texture import DOWNSAMPLES

Progress = Callable[[int, int], None]

TILE_PX = 512
JPEG_QUALITY = 85

AHEAD = 4
"""Tiles drawn ahead per thread."""

_SMALLEST_LEVEL_PX = 512


class DrawnSlide(Protocol):
    """The interface of :class:`napari_zoommil.synthetic.SyntheticSlide`."""

    @property
    def seed(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def tumour(self) -> bool: ...

    def read(self, y: int, x: int, height: int, width: int, downsample: int = 1) -> Image: ...

    def is_background(self, y: int, x: int, height: int, width: int, downsample: int = 1) -> bool: ...

    def outline(self) -> list[NDArray[np.float64]]: ...


def write_slide(
    slide: DrawnSlide, path: Path, workers: int, progress: Progress | None, finest: int = 1
) -> None:
    """Write `slide` to the TIFF `path` and its outline to `path` with the suffix .geojson.

    The first level of the file is that of the downsample `finest`, as of a scanner with another objective.

    Both are written atomically, the outline first, so that a slide always has its outline.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    with replacing(path) as part:
        _write_tiff(slide, part, workers, progress or (lambda done, total: None), finest)
        write_file(path.with_suffix(".geojson"), json.dumps(outline_geojson(slide, finest)).encode())


def outline_geojson(slide: DrawnSlide, finest: int = 1) -> dict[str, Any]:
    """The outline as a GeoJSON feature collection for QuPath, (x, y) in px of the downsample `finest`."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [np.round(ring[:, ::-1] / finest, 1).tolist()]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": "Tumour", "color": [200, 0, 0]},
            },
        }
        for ring in slide.outline()
    ]
    return {"type": "FeatureCollection", "features": features}


def _write_tiff(slide: DrawnSlide, path: Path, workers: int, progress: Progress, finest: int) -> None:
    levels = [d for d in DOWNSAMPLES if d == finest or (d > finest and slide.size // d >= _SMALLEST_LEVEL_PX)]
    per_level = [(-(-(slide.size // d) // TILE_PX)) ** 2 for d in levels]
    done = 0
    with TiffWriter(path) as tiff:

        def tiles(downsample: int) -> Generator[bytes, None, None]:
            nonlocal done
            with closing(_encoded_tiles(slide, downsample, workers)) as encoded:
                for tile in encoded:
                    yield tile
                    done += 1
                    progress(done, sum(per_level))

        for downsample in levels:
            edge = slide.size // downsample
            per_cm = 1e4 / (UM_PER_PX * downsample)
            tiff.write(
                tiles(downsample),
                shape=(edge, edge, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(downsample > finest),
                description=_description(slide, finest) if downsample == finest else None,
                software="napari-zoommil",
                metadata=None,
            )


def _description(slide: DrawnSlide, finest: int) -> str:
    kind = "with a planted tumour" if slide.tumour else "without tumour"
    scale = f"{40 / finest:g}x, {UM_PER_PX * finest:g} um/px"
    return f"Synthetic H&E slide {kind}, seed {slide.seed}, {scale}"


def _encoded_tiles(slide: DrawnSlide, downsample: int, workers: int) -> Generator[bytes, None, None]:
    """JPEG tiles of a level in row order; a few are drawn ahead."""
    starts = range(0, slide.size // downsample, TILE_PX)
    blank = _encode(slide.read(-TILE_PX, -TILE_PX, TILE_PX, TILE_PX, downsample))

    def tile(place: tuple[int, int]) -> bytes:
        y, x = place
        if slide.is_background(y, x, TILE_PX, TILE_PX, downsample):
            return blank
        return _encode(slide.read(y, x, TILE_PX, TILE_PX, downsample))

    yield from in_order(tile, product(starts, starts), workers, AHEAD * workers, name="tile-drawer")


def _encode(rgb: Image) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(
            rgb, level=JPEG_QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling=(2, 2)
        )
    )
