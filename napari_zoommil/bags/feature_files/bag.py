"""A bag whose features are in files of another tool."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.bags.feature_files.placing import Placed
from napari_zoommil.bags.feature_files.stated import Stated
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide


class FileBag:
    """The patches of a slide as other tools' files hold them; features are read on demand and not kept.

    Parameters
    ----------
    stated : sequence of Stated
        Of each magnification, from the lowest on; their coordinates are not used.
    place : callable
        Returns where the patches are; called as often as they are needed, so that it may forget them.
    encoder_hash : str
        Hash of the encoder; empty if it is unknown.
    slide : Slide or AbsentSlide, optional
    """

    holds: ClassVar[Literal["features"]] = "features"
    unkept = ""

    def __init__(
        self,
        stated: Sequence[Stated],
        place: Callable[[], Placed],
        encoder_hash: str = "",
        slide: Slide | AbsentSlide | None = None,
    ) -> None:
        self._stated, self._place = tuple(stated), place
        self.encoder_hash, self.slide = encoder_hash, slide
        self._seen: dict[int, NDArray[np.bool_]] = {}

    @property
    def grid(self) -> PatchGrid:
        return self._place().grid

    @property
    def dim(self) -> int:
        """Features per patch."""
        return self._stated[0].width

    def features(self, level: int, rows: Rows) -> Tensor:
        """(len(rows), D) float32.

        Raises
        ------
        FeatureFileError
            If they cannot be read, or are not finite.
        """
        placed = self._place()
        if self.slide is None:  # of a cohort, which has too many to count
            return torch.from_numpy(self._stated[level].read(placed.rows[level][rows]))
        seen = self._seen.setdefault(level, np.zeros(len(placed.rows[level]), bool))
        seen[rows] = True
        return torch.from_numpy(self._stated[level].read(placed.rows[level][rows]))

    def known(self, level: int) -> NDArray[np.bool_]:
        """Which patches of a magnification have features, (N,) bool: all."""
        return np.ones(len(self._place().rows[level]), bool)

    stored = known

    def encode(self, level: int, rows: Rows) -> Generator[Rows, None, None]:
        """Nothing is left to encode."""
        yield from ()

    @property
    def encoded(self) -> tuple[int, ...]:
        """Number of patches encoded by this bag at each magnification: none."""
        return (0,) * len(self._stated)

    @property
    def taken(self) -> tuple[int, ...]:
        """Number of patches whose features were read, at each magnification."""
        counts = (self._seen.get(level) for level in range(len(self._stated)))
        return tuple(0 if seen is None else int(seen.sum()) for seen in counts)
