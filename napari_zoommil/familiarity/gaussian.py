"""How far a row of numbers lies from those that were seen: a Gaussian of their principal part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT = 0.9995
"""Share of the variance that the principal part holds."""

LARGEST = 96
"""Most axes of a principal part."""

SHRINKAGE = 0.003
"""Share of the identity in the covariance: few slides do not show all directions in which slides vary."""

FLAT = 1e-3
"""Least standard deviation, as a share of the median one: what never varied must not decide alone."""

Numbers = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean and covariance of rows of D numbers; outside K principal axes all directions are alike.

    Attributes
    ----------
    mean, scale : (D,) float32
        Numbers are compared after the mean is taken off and each is divided by its standard deviation.
    axes : (K, D) float32
        Unit vectors.
    spread : (K,) float32
        Standard deviation along each axis.
    residual : float
        Standard deviation along any other direction.
    """

    mean: Numbers
    scale: Numbers
    axes: Numbers
    spread: Numbers
    residual: float

    @classmethod
    def fitted(cls, rows: Numbers) -> Gaussian:
        """From (n, D) rows, n ≥ 2."""
        mean, scale = rows.mean(0, np.float64), rows.std(0, dtype=np.float64)
        scale = np.maximum(scale, FLAT * np.median(scale) + 1e-9)
        values, vectors = np.linalg.eigh(np.cov(((rows - mean) / scale).T))
        values, vectors = values[::-1].clip(0), vectors[:, ::-1]
        filled = np.cumsum(values) / values.sum()
        count = min(1 + int(np.searchsorted(filled, KEPT)), LARGEST, len(rows) - 1, len(values))
        values = (1 - SHRINKAGE) * values + SHRINKAGE
        rest = values[count:].mean() if count < len(values) else values[-1]
        axes, spread = np.ascontiguousarray(vectors[:, :count].T, np.float32), np.sqrt(values[:count])
        mean, scale, spread = (one.astype(np.float32) for one in (mean, scale, spread))
        return cls(mean, scale, axes, spread, float(np.sqrt(rest)))

    def distances(self, rows: Numbers) -> Numbers:
        """(n,) Mahalanobis distances of (n, D) rows, divided by √D: about 1 for what the fit was made of."""
        centred = (rows - self.mean) / self.scale
        along = centred @ self.axes.T
        outside = np.square(centred).sum(1) - np.square(along).sum(1)
        squared = np.square(along / self.spread).sum(1) + outside.clip(0) / self.residual**2
        found: Numbers = np.sqrt(squared / rows.shape[1]).astype(np.float32)
        return found
