"""Bags of one image each, for models that read an image in place of patches."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from napari_zoommil.bags.cache import Recent
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.geometry import Box, PatchGrid
from napari_zoommil.slides import Slide


class ImageBag(PixelBag):
    """A bag of one image, which stays in memory with those of other bags, as far as there is room.

    Parameters
    ----------
    path : Path
        The slide, which is opened to be read.
    mpp : float, optional
        Pixel size of the slide, if it is not as it states.
    icc : bool
    grid : PatchGrid
        Of :func:`~napari_zoommil.slides.image_grid.image_grid`.
    kept : Recent
        Shared by the bags of a cohort.
    """

    def __init__(self, path: Path, mpp: float | None, icc: bool, grid: PatchGrid, kept: Recent) -> None:
        super().__init__(partial(Slide.open, path, mpp, icc), grid)
        self._path, self._kept = path, kept

    def image(self, box: Box, mpp: float) -> Generator[float, None, Tensor]:
        reading = super().image(box, mpp)

        def read() -> object:
            while True:
                try:
                    next(reading)
                except StopIteration as end:
                    return end.value.numpy()

        found = self._kept.get((self._path, box, mpp), read)
        yield 1.0
        return torch.from_numpy(found)
