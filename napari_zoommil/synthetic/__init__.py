"""Synthetic H&E slides: generated whole-slide images with a planted tumour.

No pixel comes from a real slide. Colour follows the Beer-Lambert law with one optical-density vector per
stain (Ruifrok and Johnston 2001); the reference vectors are close to those of Macenko et al. (2009). Stain,
thickness and geometry vary between slides. The mean stain of tumour equals that of other tissues, so that
tumour differs only in the shape and density of its nuclei.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours

from napari_zoommil.synthetic.compose import Composition, Image, compose
from napari_zoommil.synthetic.file import Progress, write_slide
from napari_zoommil.synthetic.layout import STEP, TISSUE_TYPES, nearest, sample
from napari_zoommil.synthetic.texture import DOWNSAMPLES, TUMOUR_PATTERNS, texture_bank

_BLOCK_PX = 1024
_composition_lock = Lock()


@dataclass(frozen=True)
class SyntheticSlide:
    """A square H&E-like slide at 40x (0.25 µm/px); windows are computed on reading, at any level.

    Attributes
    ----------
    seed : int
        Determines the content of the slide.
    size : int
        Edge in level-0 px, a multiple of 32, at least 1024.
    tumour : bool
        Whether a tumour is planted.
    tumour_fraction : float
        Share of the tumour in the tissue area.
    tumour_pattern : str
        Growth of the tumour, one of `TUMOUR_PATTERNS`; each of its lobules has a random one if empty.
    texture_seed, texture_px : int
        Seed and edge (a multiple of 32) of the periodic textures, shared by slides with equal values.
    """

    seed: int
    size: int = 20480
    tumour: bool = True
    tumour_fraction: float = 0.04
    texture_seed: int = 0
    texture_px: int = 1536
    tumour_pattern: str = ""

    tissue_types: ClassVar[tuple[str, ...]] = TISSUE_TYPES

    def __post_init__(self) -> None:
        if self.size < 1024 or self.size % 32 or self.texture_px < 512 or self.texture_px % 32:
            raise ValueError("size (1024 or more) and texture_px (512 or more) must be multiples of 32")
        if not 0 < self.tumour_fraction < 0.5:
            raise ValueError("tumour_fraction must lie between 0 and 0.5")
        if self.tumour_pattern not in ("", *TUMOUR_PATTERNS):
            raise ValueError(f"tumour_pattern must be empty or one of {', '.join(TUMOUR_PATTERNS)}")

    def read(self, y: int, x: int, height: int, width: int, downsample: int = 1) -> Image:
        """Pixels of a window; background outside the slide.

        Parameters
        ----------
        y, x : int
            Top-left corner in px of the level.
        height, width : int
            Size in px of the level.
        downsample : int
            The level: 1, 2, 4, 8, 16 or 32.

        Returns
        -------
        (height, width, 3) uint8
        """
        if downsample not in DOWNSAMPLES:
            raise ValueError(f"downsample must be one of {DOWNSAMPLES}")
        composition = _composition(self)
        image = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _BLOCK_PX):
            for left in range(0, width, _BLOCK_PX):
                block = image[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
                ys = y + top + np.arange(block.shape[0])
                xs = x + left + np.arange(block.shape[1])
                block[...] = composition.pixels(ys, xs, downsample)
        return image

    def is_background(self, y: int, x: int, height: int, width: int, downsample: int = 1) -> bool:
        """Whether a window (as for `read`) certainly has no tissue; its pixels are then all equal."""
        return _composition(self).is_background(y + np.arange(height), x + np.arange(width), downsample)

    def label_map(self, downsample: int) -> Image:
        """Tissue type per pixel, an index of `tissue_types`: (size / downsample,) * 2 uint8."""
        layout = _composition(self).layout
        at = (np.arange(self.size // downsample) + 0.5) * downsample
        labels = np.full((len(at),) * 2, TISSUE_TYPES.index("stroma"), np.uint8)
        lobule = sample(layout.lobule, at, at) > 0
        labels[lobule] = layout.cell_type[nearest(layout.cell, at, at)][lobule]
        labels[labels == TISSUE_TYPES.index("tumour")] = TISSUE_TYPES.index("stroma")
        labels[sample(layout.tumour, at, at) > 0] = TISSUE_TYPES.index("tumour")
        labels[sample(layout.tissue, at, at) <= 0] = TISSUE_TYPES.index("background")
        return labels

    def outline(self) -> list[NDArray[np.float64]]:
        """Closed polygons (n, 2), (y, x) level-0 px, around the planted tumour; none on a normal slide."""
        layout = _composition(self).layout
        inside = np.pad(np.minimum(layout.tumour, layout.tissue), 1, constant_values=-STEP)
        rings = [approximate_polygon((ring - 1) * STEP, STEP / 4) for ring in find_contours(inside, 0.0)]
        return [np.clip(ring, 0, self.size) for ring in rings if len(ring) > 4 and _signed_area(ring) < 0]

    def write(
        self, path: Path | str, workers: int = 2, progress: Progress | None = None, finest: int = 1
    ) -> None:
        """Write a pyramidal JPEG TIFF, and `NAME.geojson` in the same folder.

        Parameters
        ----------
        path : path
            Name of the TIFF. Both files are written atomically.
        workers : int
            Threads for drawing and compressing tiles.
        progress : callable, optional
            Called with (tiles done, all tiles); an exception in it cancels writing.
        finest : int
            Downsample of the file's first level, which has 0.25 µm/px times that: 1, 2, 4, 8, 16 or 32.
        """
        write_slide(self, Path(path), workers, progress, finest)


def _signed_area(ring: NDArray[np.float64]) -> float:
    y, x = ring.T
    return float(np.sum(y[:-1] * x[1:] - y[1:] * x[:-1])) / 2


@lru_cache(maxsize=4)
def _cached_composition(slide: SyntheticSlide) -> Composition:
    fraction = slide.tumour_fraction if slide.tumour else 0.0
    bank = texture_bank(slide.texture_seed, slide.texture_px)
    return compose(slide.seed, slide.size, fraction, bank.of_pattern(slide.tumour_pattern))


def _composition(slide: SyntheticSlide) -> Composition:
    with _composition_lock:
        return _cached_composition(slide)
