"""Bags of the pixels of a slide's patches, for models without an encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.reading import read_batches
from napari_zoommil.encoders.turned import turned
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import NATIVE, Box, PatchGrid, Rows
from napari_zoommil.slides import Slide

LARGEST_IMAGE = 2 << 30
"""Largest image, bytes."""

STRIP_BYTES = 16 << 20
"""Bytes of an image that are read between two opportunities to cancel."""


class PixelBag:
    """A bag whose "features" are the pixels of patches, (n, 3, p, p) uint8.

    Only the last answer is kept in memory: pixels are about a hundred times as large as features.

    Parameters
    ----------
    slide : Slide or callable
        An open slide, or a function that opens one for the time of a read: a cohort may have more slides
        than a process can have open files.
    grid : PatchGrid
    batch_size : int
        Patches read between two opportunities to cancel.
    workers : int, optional
        Reader threads.
    variant : int
        Rotation and flip of the patches, see :func:`~napari_zoommil.encoders.turned.turned`.
    """

    holds: ClassVar[Literal["features", "pixels"]] = "pixels"

    def __init__(
        self,
        slide: Slide | Callable[[], AbstractContextManager[Slide]],
        grid: PatchGrid,
        batch_size: int = 64,
        workers: int | None = None,
        variant: int = 0,
    ) -> None:
        self.slide = slide if isinstance(slide, Slide) else None
        self._open = (lambda: nullcontext(slide)) if isinstance(slide, Slide) else slide
        self.grid, self.batch_size, self.workers, self.turn = grid, batch_size, workers, variant
        self._seen = [np.zeros(len(level), bool) for level in grid.levels]
        self._level, self._place = -1, np.empty(0, np.int64)
        self._pixels = np.empty((0, 0, 0, 3), np.uint8)

    @property
    def encoded(self) -> tuple[int, ...]:
        """Number of patches read so far at each magnification."""
        return tuple(int(seen.sum()) for seen in self._seen)

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches need not be read, (N,) bool: always none."""
        return np.zeros(len(self.grid.levels[level]), bool)

    stored = known
    """Pixels are not cached."""

    unkept = ""

    encoder_hash = ""

    @property
    def taken(self) -> tuple[int, ...]:
        """Number of patches read from a cache at each magnification: always 0."""
        return (0,) * len(self.grid.levels)

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Read ``rows``; yields the rows of each batch."""
        size = self.grid.patch_size
        self._level, self._place = level, np.full(len(self.grid.levels[level]), -1)
        self._pixels = np.empty((len(rows), size, size, 3), np.uint8)
        done = 0
        with ExitStack() as stack:
            slide = stack.enter_context(self._open())
            batches = read_batches(slide, self.grid, level, rows, self.batch_size, self.workers)
            for chunk, patches in stack.enter_context(closing(batches)):
                self._pixels[done : done + len(chunk)] = turned(patches, self.turn)
                self._place[chunk] = np.arange(done, done + len(chunk))
                self._seen[level][chunk] = True
                done += len(chunk)
                yield chunk

    def features(self, level: int, rows: Rows) -> Tensor:
        """(len(rows), 3, p, p) uint8."""
        if level != self._level or (self._place[rows] < 0).any():
            for _ in self.encode(level, rows):
                pass
        return torch.from_numpy(self._pixels[self._place[rows]]).permute(0, 3, 1, 2)

    def image(self, box: Box, mpp: float) -> Generator[float, None, Tensor]:
        """Read a rectangle at a resolution, strip by strip.

        Parameters
        ----------
        box : Box
            Level-0 px.
        mpp : float
            Resolution, µm/px; :data:`~napari_zoommil.geometry.NATIVE` for the slide's own pixels.

        Yields
        ------
        float
            Share that is done.

        Returns
        -------
        (3, h, w) uint8

        Raises
        ------
        ModelError
            If the image would be larger than :data:`LARGEST_IMAGE`.
        """
        with self._open() as slide:
            scale = (1.0, 1.0) if mpp == NATIVE else tuple(mpp / own for own in slide.resolution())
            height, width = (
                max(1, round(edge / s)) for edge, s in zip((box.height, box.width), scale, strict=True)
            )
            if 3 * height * width > LARGEST_IMAGE:
                at = f" at {mpp:g} µm/px" if mpp else ""
                raise ModelError(
                    f"an image of {width:,} × {height:,} px ({slide.name}{at}) is too large; give a region, "
                    "a lower magnification, or a model that reads patches"
                )
            out = np.empty((height, width, 3), np.uint8)
            rows = math.ceil(STRIP_BYTES / (3 * width))
            for top in range(0, height, rows):
                count = min(rows, height - top)
                out[top : top + count] = slide.read_downsampled(
                    box.y + top * scale[0], box.x, count, width, (scale[0], scale[1])
                )
                yield (top + count) / height
            if [len(seen) for seen in self._seen] == [1]:  # the image is what the grid is of
                self._seen[0][:] = True
        return torch.from_numpy(out).permute(2, 0, 1)

    def variant(self, variant: int) -> PixelBag:
        """The bag of the same patches in another variant."""
        return PixelBag(self.slide or self._open, self.grid, self.batch_size, self.workers, variant)
