"""Detections in the order in which a look at them teaches most."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.geometry import Pair

THRESHOLD = 0.5


def by_uncertainty(scores: ArrayLike, threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """Rows of detections, the least certain first.

    Parameters
    ----------
    scores : (n,)
        Between 0 and 1.
    threshold : float
        The score from which on a detection counts: the nearer to it, the less certain.

    Returns
    -------
    (n,) int64
        Equally uncertain ones in their old order.
    """
    return np.argsort(np.abs(np.asarray(scores, np.float64) - threshold), kind="stable").astype(np.int64)


@dataclass
class Walk:
    """A walk through detections, from the least certain on; it goes round.

    Attributes
    ----------
    centres : (n, 2) float64
        Level-0 px, y and x.
    scores : (n,) float64
    """

    centres: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    threshold: float = THRESHOLD
    at: int | None = None
    """Which stop of the walk one is at."""

    def __post_init__(self) -> None:
        self.centres = np.asarray(self.centres, np.float64).reshape(-1, 2)
        self.scores = np.asarray(self.scores, np.float64).reshape(-1)
        if len(self.centres) != len(self.scores):
            raise ValueError(f"{len(self.centres)} detections cannot have {len(self.scores)} scores")
        self._order = by_uncertainty(self.scores, self.threshold)

    def __len__(self) -> int:
        return len(self.scores)

    def step(self, by: int) -> tuple[Pair, float] | None:
        """Place (y, x) and score of the next stop, or the one before; None where there are none."""
        if not len(self):
            return None
        start = -1 if self.at is None and by > 0 else self.at or 0
        self.at = (start + by) % len(self)
        row = self._order[self.at]
        y, x = self.centres[row]
        return (float(y), float(x)), float(self.scores[row])
