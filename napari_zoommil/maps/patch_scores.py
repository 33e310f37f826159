"""Scores of patches as a method of explanation gives them: plain numbers, without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import Rows


@dataclass(frozen=True, eq=False)
class PatchScores:
    """Scores of some patches of one magnification.

    Attributes
    ----------
    level : int
    rows : (n,) int64
    values : (C, n) float32
        For each output of the model, or one row where a method does not tell them apart; NaN where there is
        no score.
    """

    level: int
    rows: Rows
    values: NDArray[np.float32]
