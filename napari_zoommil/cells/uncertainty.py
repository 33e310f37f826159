"""Order of detections by uncertainty, for active learning."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.geometry import Pair

THRESHOLD = 0.5


def by_uncertainty(scores: ArrayLike, threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """Rows of detections, most uncertain first.

    Parameters
    ----------
    scores : (n,)
        Between 0 and 1.
    threshold : float
        Least score of a detection that counts; scores near to it are uncertain.

    Returns
    -------
    (n,) int64
        Equally uncertain ones in their original order.
    """
    return np.argsort(np.abs(np.asarray(scores, np.float64) - threshold), kind="stable").astype(np.int64)


@dataclass
class Walk:
    """A cyclic sequence of detections, most uncertain first.

    Attributes
    ----------
    centres : (n, 2) float64
        Level-0 px, (y, x).
    scores : (n,) float64
    """

    centres: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    threshold: float = THRESHOLD
    at: int | None = None
    """Position in the sequence."""

    def __post_init__(self) -> None:
        self.centres = np.asarray(self.centres, np.float64).reshape(-1, 2)
        self.scores = np.asarray(self.scores, np.float64).reshape(-1)
        if len(self.centres) != len(self.scores):
            raise ValueError(f"{len(self.centres)} detections cannot have {len(self.scores)} scores")
        self._order = by_uncertainty(self.scores, self.threshold)

    def __len__(self) -> int:
        return len(self.scores)

    def step(self, by: int) -> tuple[Pair, float] | None:
        """Move by ``by``; position (y, x) and score of that detection, None if there are none."""
        if not len(self):
            return None
        start = -1 if self.at is None and by > 0 else self.at or 0
        self.at = (start + by) % len(self)
        row = self._order[self.at]
        y, x = self.centres[row]
        return (float(y), float(x)), float(self.scores[row])
