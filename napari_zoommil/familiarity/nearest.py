"""How far a row of numbers lies from the nearest that was seen: for training data of many kinds.

A Gaussian of tissue from several laboratories covers what lies between them too, where nothing was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.familiarity.gaussian import Gaussian

LEAST_SPREAD = 0.3
"""Least standard deviation that an axis is divided by: where hardly anything varied, distances are noise."""

MOST_POINTS = 3_000
"""Rows that are kept; of more, a random sample is."""

Numbers = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Nearest:
    """A sample of N rows along the K principal axes of all.

    Attributes
    ----------
    space : Gaussian
    points : (N, K) float16
        In standard deviations.
    """

    space: Gaussian
    points: NDArray[np.float16]

    @classmethod
    def fitted(cls, rows: Numbers) -> Nearest:
        """From (n, D) rows, n ≥ 2."""
        space = Gaussian.fitted(rows)
        kept = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST_POINTS])
        return cls(space, _along(space, rows[kept]).astype(np.float16))

    def distances(self, rows: Numbers) -> Numbers:
        """(n,) distances of (n, D) rows to the nearest point, divided by √K."""
        from scipy.spatial import cKDTree

        found = cKDTree(self.points.astype(np.float32)).query(_along(self.space, rows))[0]
        return np.asarray(found / np.sqrt(self.points.shape[1]), np.float32)


def _along(space: Gaussian, rows: Numbers) -> Numbers:
    """(n, K) places of (n, D) rows along the axes, in standard deviations."""
    centred = (rows - space.mean) / space.scale
    return np.asarray(centred @ space.axes.T / np.maximum(space.spread, LEAST_SPREAD), np.float32)
