"""Data sets of crops with a lesion of a range of sizes, and of as many without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import contains_xy, unary_union

from napari_zoommil.experiments.data.needle_camelyon import Crop, negative_crops, positive_crops
from napari_zoommil.experiments.needle_camelyon.slides import LevelSlide
from napari_zoommil.experiments.needles.fitting import SPLITS

Ratio = tuple[float, float]
LEAST = 20
"""Images of each class in a split; an accuracy of fewer says nothing."""


@dataclass(frozen=True)
class Found:
    """Crops of a split.

    Attributes
    ----------
    crops : tuple of (int, Crop)
        Number of the slide, and a crop of it; positive ones first.
    lesions : int
        Lesions in the positive ones.
    """

    crops: tuple[tuple[int, Crop], ...]
    lesions: int

    @property
    def positive(self) -> int:
        return sum(crop.lesion >= 0 for _, crop in self.crops)

    @property
    def negative(self) -> int:
        return len(self.crops) - self.positive

    @property
    def is_enough(self) -> bool:
        """Whether there are so many that an accuracy says something."""
        return min(self.positive, self.negative) >= LEAST


def found_crops(
    slides: Sequence[LevelSlide], split: str, edge: int, ratio: Ratio, per_lesion: int, seed: int
) -> Found:
    """Crops of the slides of a split; as many negative ones, of slides without a lesion."""
    positive, lesions = [], 0
    own = [slide for slide in slides if slide.split == split]
    for slide in own:
        rng = np.random.default_rng((seed, slide.number, 41))
        crops = positive_crops(slide.lesions, slide.shape, edge, ratio, rng, per_lesion)
        lesions += len({crop.lesion for crop in crops})
        positive += [(slide.number, crop) for crop in crops]
    healthy = [slide for slide in own if not slide.lesions]
    negative: list[tuple[int, Crop]] = []
    for place, slide in enumerate(healthy):
        count = -(-(len(positive) - len(negative)) // (len(healthy) - place))
        rng = np.random.default_rng((seed, slide.number, 43))
        crops = list(negative_crops(slide.mean_green, slide.shape, edge, count, rng))
        negative += [(slide.number, crop) for crop in crops]
    return Found((*positive, *negative), lesions)


class CropImages:
    """A data set of crops; pixels are read from the slides when they are asked for.

    Parameters
    ----------
    slides : sequence of LevelSlide
        All of them, by number.
    found : Found
    """

    def __init__(self, slides: Sequence[LevelSlide], found: Found) -> None:
        self._slides, self.found, self.crops = slides, found, found.crops
        self.labels = np.array([crop.lesion >= 0 for _, crop in found.crops], np.int64)

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: three channels, height and width."""
        edge = self.crops[0][1].edge
        return 3, edge, edge

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """(edge, edge, 3)."""
        number, crop = self.crops[index]
        return self._slides[number].pixels[crop.y : crop.y + crop.edge, crop.x : crop.x + crop.edge]

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, 3, edge, edge), from 0 to 1."""
        own = np.stack([self.pixels(int(index)) for index in indices])
        return np.ascontiguousarray(own.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(edge, edge), True in lesions."""
        number, crop = self.crops[index]
        ys, xs = (start + 0.5 + np.arange(crop.edge) for start in (crop.y, crop.x))
        whole = unary_union(list(self._slides[number].lesions))
        inside: NDArray[np.bool_] = contains_xy(whole, ys[:, None], xs[None])
        return inside


def data_sets(
    slides: Sequence[LevelSlide], edge: int, ratio: Ratio, per_lesion: int, seed: int
) -> dict[str, CropImages]:
    """Training, validation and test images."""
    return {
        split: CropImages(slides, found_crops(slides, split, edge, ratio, per_lesion, seed))
        for split in SPLITS
    }
