"""Whether two pages of a TIFF show the same picture, by a few samples of their pixels."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import RGB
from napari_zoommil.slides.readers.tiff_segments import segments_of

PLACES = [((row + 0.5) / 4, (column + 0.5) / 4) for row, column in product(range(4), repeat=2)]
"""Where pages are compared, as shares of their height and width."""

SAMPLED_PX = 256
"""Edge of the square that is compared at each place, px of the finer page."""

LEAST_PX = 2
"""The same in the coarser page, at least: its pixels may have been picked, not averaged."""

DIFFERENCE = 16.0
"""Largest mean difference of pages with the same picture, of 255."""

BLOCKS = 4
"""Decoded tiles or strips of a page that are kept: places beside each other share them."""


class Likeness:
    """Comparison of pages with the finest page of a slide.

    Parameters
    ----------
    full : TiffPage
    tiff : TiffFile
        Must be open while pages are compared.
    """

    def __init__(self, full: TiffPage, tiff: TiffFile) -> None:
        self._full, self._tiff = full, tiff
        self._fine: _Pixels | None = None

    def __call__(self, page: TiffPage) -> bool:
        """Whether a smaller page shows the same; one that cannot be read at all does not."""
        with suppress(Exception):  # each codec raises errors of its own
            fine = self._fine = self._fine or _Pixels(self._full, self._tiff)
            coarse = _Pixels(page, self._tiff, fine.white)
            edge = max(LEAST_PX, round(SAMPLED_PX * coarse.shape[0] / fine.shape[0]))
            square = edge / coarse.shape[0], edge / coarse.shape[1]
            differences = []
            for place in PLACES:
                with suppress(Exception):  # a tile that is missing or damaged tells nothing
                    differences.append(np.abs(fine.mean(place, square) - coarse.mean(place, square)).mean())
            return bool(differences) and float(np.mean(differences)) <= DIFFERENCE
        return False


class _Pixels:
    """Windows of one page."""

    def __init__(self, page: TiffPage, tiff: TiffFile, white: int | None = None) -> None:
        file = tiff.filehandle

        def fetch(offset: int, size: int) -> bytes:
            file.seek(offset)
            return bytes(file.read(size))

        segments = segments_of([page], fetch, white)
        self.white, self.shape, self._tile = segments.white, segments.geometry.shape, segments.geometry.tile
        self._block = lru_cache(BLOCKS)(lambda row, column: segments.decode(fetch, row, column, 1))

    def mean(self, place: Pair, square: Pair) -> NDArray[np.float64]:
        """(3,) mean colour of a window; its centre and its extent are shares of the page's."""
        (y0, y1), (x0, x1) = (
            (max(int((at - part / 2) * edge), 0), min(max(round((at + part / 2) * edge), 1), edge))
            for at, part, edge in zip(place, square, self.shape, strict=True)
        )
        height, width = self._tile
        parts: list[RGB] = [
            self._block(row, column)[
                max(y0 - row * height, 0) : y1 - row * height,
                max(x0 - column * width, 0) : x1 - column * width,
            ].reshape(-1, 3)
            for row in range(y0 // height, -(-y1 // height))
            for column in range(x0 // width, -(-x1 // width))
        ]
        return np.concatenate(parts).mean(0)
