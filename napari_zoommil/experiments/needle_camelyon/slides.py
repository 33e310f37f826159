"""Made slides of five centres, of which half have a tumour, at the level of the crops."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely import from_wkt, to_wkt
from shapely.geometry import Polygon

from napari_zoommil.experiments.data.needle_camelyon import DOWNSAMPLE, lesions_of, split_of
from napari_zoommil.files import make_folder, read_file, write_file, write_json
from napari_zoommil.synthetic import SyntheticSlide

CENTRES = 5


@dataclass(frozen=True)
class MadeSlides:
    """Slides of a preset.

    Attributes
    ----------
    per_centre : int
        Slides of each of the five centres; those of a centre have textures of their own.
    size : int
        Edge, level-0 px.
    smallest, largest : float
        Share of the tumour in the tissue; logarithms are uniform in between.
    first_seed : int
    """

    per_centre: int
    size: int
    smallest: float
    largest: float
    first_seed: int = 70_000

    @property
    def folder(self) -> str:
        """Name of their folder; slides of other settings have another."""
        return f"slides-{self.per_centre}x{self.size}-{self.smallest:g}-{self.largest:g}-{self.first_seed}"

    @property
    def count(self) -> int:
        return CENTRES * self.per_centre

    def drawing(self, number: int) -> SyntheticSlide:
        """A slide; every other one of a centre has a tumour."""
        centre, place = divmod(number, self.per_centre)
        seed = self.first_seed + number
        limits = np.log(self.smallest), np.log(self.largest)
        share = float(np.exp(np.random.default_rng(seed).uniform(*limits)))
        return SyntheticSlide(seed, self.size, place % 2 == 0, min(share, 0.49), texture_seed=centre + 1)


@dataclass(frozen=True, eq=False)
class LevelSlide:
    """A slide at the level of the crops.

    Attributes
    ----------
    number : int
    split : str
        By its centre.
    file : Path
        Of its pixels.
    shape : (int, int)
        Height and width.
    lesions : tuple of Polygon
        (y, x), px of the level.
    """

    number: int
    split: str
    file: Path
    shape: tuple[int, int]
    lesions: tuple[Polygon, ...]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(h, w, 3), mapped from the file, which is open only as long as they are used."""
        return np.load(self.file, mmap_mode="r")

    def mean_green(self, y: int, x: int, edge: int) -> float:
        """Of a crop."""
        return float(self.pixels[y : y + edge, x : x + edge, 1].mean())


def drawn(slides: MadeSlides, folder: Path) -> Iterator[float]:
    """Draw what is missing in a folder; yields the share that is done."""
    make_folder(folder)
    for number in range(slides.count):
        pixels, outlines = _files(folder, number)
        if not outlines.exists():
            drawing, size = slides.drawing(number), slides.size // DOWNSAMPLE
            content = io.BytesIO()
            np.save(content, drawing.read(0, 0, size, size, DOWNSAMPLE))
            write_file(pixels, content.getvalue())
            lesions = lesions_of(drawing.outline()) if drawing.tumour else []
            write_json(outlines, [to_wkt(one) for one in lesions])  # last: it tells that both are there
        yield (number + 1) / slides.count


def read_slides(slides: MadeSlides, folder: Path) -> list[LevelSlide]:
    """All slides of a folder in which they are drawn."""
    shape = (slides.size // DOWNSAMPLE,) * 2
    return [
        LevelSlide(number, split_of(number // slides.per_centre), _files(folder, number)[0], shape, lesions)
        for number, lesions in enumerate(_lesions(folder, slides.count))
    ]


@lru_cache(maxsize=2)
def _lesions(folder: Path, count: int) -> list[tuple[Polygon, ...]]:
    outlines = (_files(folder, number)[1] for number in range(count))
    return [tuple(from_wkt(one) for one in json.loads(read_file(file))) for file in outlines]


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"slide_{number:04d}.npy", folder / f"slide_{number:04d}.json"
