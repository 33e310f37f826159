"""Metrics of R weightings of n slides at once: that of the slides themselves, and of bootstrap samples.

A bootstrap sample is a weight for each slide, so that all samples are computed in one pass, from (R, n)
weights to (R,) values. A metric that is not defined for a sample, for example because it has one class only,
is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

BINS = 10
"""Bins of the calibration error."""


def confusion(targets: Labels, predicted: Labels, classes: int, weights: Floats) -> Floats:
    """(R, C, C) weight of slides by class and predicted class."""
    pairs = np.eye(classes**2)[targets * classes + predicted]
    return (weights @ pairs).reshape(len(weights), classes, classes)


def accuracy(matrix: Floats) -> Floats:
    """(R,) of (R, C, C) confusion matrices."""
    return _ratio(np.einsum("rcc->r", matrix), matrix.sum((1, 2)))


def f1(matrix: Floats) -> Floats:
    """(R, C) F1 of each class against all others; 0 for a class that is only predicted, NaN for one that is
    neither there nor predicted."""
    right = np.einsum("rcc->rc", matrix)
    return _ratio(2 * right, matrix.sum(1) + matrix.sum(2))


def weighted_f1(matrix: Floats) -> Floats:
    """(R,) mean of the F1 of all classes, by their numbers of slides."""
    there = matrix.sum(2)
    return _ratio((np.nan_to_num(f1(matrix)) * there).sum(1), there.sum(1))


def auroc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """(R,) probability that a positive slide has a higher score than a negative one; ties count half."""
    above = mid_ranks(scores, weights * ~positive)
    of_positive = (weights * positive).sum(1)
    return _ratio((weights * positive * above).sum(1), of_positive * (weights * ~positive).sum(1))


def average_precision(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """(R,) Σ (R_k − R_(k−1)) P_k over the distinct scores, highest first."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    right = np.cumsum((weights * positive)[:, order], 1)[:, ends]
    found = np.cumsum(weights[:, order], 1)[:, ends]
    gained = np.diff(right, axis=1, prepend=0)
    precision = np.divide(right, found, out=np.zeros_like(right), where=found > 0)
    return _ratio((gained * precision).sum(1), right[:, -1])


def calibration_error(probabilities: Floats, right: NDArray[np.bool_], weights: Floats) -> Floats:
    """(R,) mean difference between the probability of the predicted class and how often it is right, over
    :data:`BINS` bins of equal width (Guo 2017, eq. 3)."""
    confidence = probabilities.max(1)
    bins = np.eye(BINS)[bin_of(confidence)]
    off = np.abs(weights @ (bins * (right - confidence)[:, None]))
    return _ratio(off.sum(1), weights.sum(1))


def bin_of(confidence: Floats) -> Labels:
    """(n,) bin of the calibration error that a probability of the predicted class is in."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def mean_absolute_error(targets: Floats, values: Floats, weights: Floats) -> Floats:
    """(R,)"""
    return _ratio(weights @ np.abs(targets - values), weights.sum(1))


def correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """(R,) Pearson correlation of (n,) or (R, n) values."""
    total = weights.sum(1, keepdims=True)
    share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    dx, dy = (one - (share * one).sum(1, keepdims=True) for one in (np.atleast_2d(x), np.atleast_2d(y)))
    spread = np.sqrt((share * dx**2).sum(1) * (share * dy**2).sum(1))
    size = np.abs(x).max() * np.abs(y).max()
    return np.where(spread > 1e-12 * size, _ratio((share * dx * dy).sum(1), spread), np.nan)


def rank_correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """(R,) Spearman correlation."""
    return correlation(mid_ranks(x, weights), mid_ranks(y, weights), weights)


def mid_ranks(values: Floats, weights: Floats) -> Floats:
    """(R, n) weight of all smaller values, and half the weight of equal ones."""
    order = np.argsort(values, kind="stable")
    last = np.append(np.diff(values[order]) != 0, True)
    group = np.cumsum(np.append(0, last[:-1]))
    upto = np.cumsum(weights[:, order], 1)[:, np.flatnonzero(last)]
    below = np.concatenate([np.zeros((len(weights), 1)), upto[:, :-1]], 1)
    ranks = np.empty_like(weights)
    ranks[:, order] = ((below + upto) / 2)[:, group]
    return ranks


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)
