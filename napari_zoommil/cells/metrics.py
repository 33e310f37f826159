"""Metrics of cell detection. If there are no cells and no predictions, every score is 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.stats import binomtest

from napari_zoommil.cells.boxes import as_boxes, as_points, iou_matrix, nms
from napari_zoommil.geometry import Rows

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""0.05, 0.10 … 0.95."""


def dice(known: NDArray, predicted: NDArray) -> float:
    """2 |A ∩ B| / (|A| + |B|) of two masks of the same shape (Dice 1945)."""
    a, b = np.asarray(known, bool), np.asarray(predicted, bool)
    return _ratio(2 * int((a & b).sum()), int(a.sum() + b.sum()))


def aji(known: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Aggregated Jaccard index of two instance maps, 0 = background (Kumar 2017, algorithm 1).

    Each known cell is paired with the predicted cell of the highest IoU, which may be paired several times.
    AJI = Σ |intersection| / (Σ |union| + area of unpaired predicted cells); the area of a known cell without
    overlap is added to the denominator. Of equal IoUs the lowest label is taken.
    """
    # Rows: background and known cells; columns: background and predicted cells.
    a, b = (
        np.unique(labels, return_inverse=True)[1] for labels in (_with_zero(known), _with_zero(predicted))
    )
    shared = np.zeros((a.max() + 1, b.max() + 1), np.int64)
    np.add.at(shared, (a, b), 1)
    shared[0, 0] = 0
    intersection, areas, others = shared[1:, 1:], shared.sum(1)[1:], shared.sum(0)[1:]
    if not intersection.size:
        return _ratio(0, int(areas.sum() + others.sum()))
    union = areas[:, None] + others - intersection
    best = (intersection / union).argmax(1)[:, None]
    both = np.take_along_axis(intersection, best, 1)[:, 0]
    either = np.where(both > 0, np.take_along_axis(union, best, 1)[:, 0], areas)
    others[best[both > 0, 0]] = 0
    return _ratio(int(both.sum()), int(either.sum() + others.sum()))


@dataclass(frozen=True)
class DetectionScore:
    """Counts of true and false positives and of false negatives; scores of several images can be added.

    Attributes
    ----------
    true_positives, false_positives, false_negatives : int
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    def __add__(self, other: DetectionScore) -> DetectionScore:
        return DetectionScore(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def predictions(self) -> int:
        return self.true_positives + self.false_positives

    @property
    def precision(self) -> float:
        return _ratio(self.true_positives, self.predictions)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall."""
        found = 2 * self.true_positives
        return _ratio(found, found + self.false_positives + self.false_negatives)

    @property
    def known(self) -> int:
        return self.true_positives + self.false_negatives

    @property
    def recall_interval(self) -> tuple[float, float]:
        """95 % confidence interval of the recall."""
        return interval(self.true_positives, self.known)

    @property
    def f1_interval(self) -> tuple[float, float]:
        """95 % confidence interval of F1, by that of TP / (TP + FP + FN) = F1 / (2 − F1)."""
        low, high = interval(self.true_positives, self.known + self.false_positives)
        return 2 * low / (1 + low), 2 * high / (1 + high)


def match_boxes(known: ArrayLike, predicted: ArrayLike, scores: ArrayLike, iou: float = 0.5) -> Rows:
    """The known box matched to each predicted one, −1 for none: (P,).

    In the order of descending scores, each prediction is matched to the unmatched known box of the highest
    IoU, if that is larger than ``iou`` (supplement of ECE, sec. 3).
    """
    known, predicted = as_boxes(known), as_boxes(predicted)
    found, free = np.full(len(predicted), -1, np.int64), np.ones(len(known), bool)
    for row in np.argsort(-np.asarray(scores, np.float64), kind="stable") if len(free) else ():
        overlap = np.where(free, iou_matrix(predicted[row], known)[0], 0)
        best = overlap.argmax()
        if overlap[best] > iou:
            found[row], free[best] = best, False
    return found


def box_score(
    known: ArrayLike, predicted: ArrayLike, scores: ArrayLike, iou: float = 0.5, nms_iou: float = 0.2
) -> DetectionScore:
    """Detection of (K, 4) known boxes by (P, 4) predicted ones of one class, after suppression."""
    kept = nms(predicted, scores, nms_iou)
    found = match_boxes(known, as_boxes(predicted)[kept], np.asarray(scores)[kept], iou)
    return _score(int((found >= 0).sum()), len(found), len(as_boxes(known)))


def match_centres(known: ArrayLike, predicted: ArrayLike, radius: float) -> tuple[Rows, Rows]:
    """One-to-one pairs of (K, 2) known and (P, 2) predicted centres at most ``radius`` apart: rows of both.

    The matching has the largest possible number of pairs and, of those, the least sum of distances.
    """
    known, predicted = as_points(known), as_points(predicted)
    none = np.zeros(0, np.int64)
    if not len(known) or not len(predicted):
        return none, none
    near = cKDTree(known).sparse_distance_matrix(cKDTree(predicted), radius, output_type="coo_matrix")
    # Connected components of the graph of possible pairs are independent and are solved one by one.
    shape = (len(known) + len(predicted),) * 2
    joined = coo_array((np.ones(near.nnz), (near.row, near.col + len(known))), shape)
    crowd = connected_components(joined, directed=False)[1][near.row]
    pairs = [(none, none)]
    order = np.argsort(crowd, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(crowd[order])) + 1) if near.nnz else ():
        rows, i = np.unique(near.row[part], return_inverse=True)
        columns, j = np.unique(near.col[part], return_inverse=True)
        # costs more than all possible pairs together
        far = (radius + 1.0) * (min(len(rows), len(columns)) + 1)
        cost = np.full((len(rows), len(columns)), far)
        cost[i, j] = near.data[part]
        chosen = linear_sum_assignment(cost)
        real = cost[chosen] < far
        pairs.append((rows[chosen[0][real]], columns[chosen[1][real]]))
    first, second = (np.concatenate(rows).astype(np.int64) for rows in zip(*pairs, strict=True))
    return first, second


def centre_score(known: ArrayLike, predicted: ArrayLike, radius: float) -> DetectionScore:
    """Detection of (K, 2) known centres by (P, 2) predicted ones at most ``radius`` away, one to one."""
    pairs = match_centres(known, predicted, radius)[0]
    return _score(len(pairs), len(as_points(predicted)), len(as_points(known)))


@dataclass(frozen=True)
class ExclusiveRecall:
    """Recall on annotated cells, together with the density of predictions.

    Attributes
    ----------
    recall : float
    predictions_per_mm2 : float
        For comparison: predicting everywhere gives a recall of 1.
    """

    recall: float
    predictions_per_mm2: float


def interval(found: int, of: int) -> tuple[float, float]:
    """95 % confidence interval of a share, ``found`` of ``of`` (Wilson 1927); (0, 1) of nothing."""
    if of == 0:
        return 0.0, 1.0
    bounds = binomtest(found, of).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def exclusive_recall(score: DetectionScore, area_mm2: float) -> ExclusiveRecall:
    """Recall on sparse annotations, for which false positives are unknown.

    Parameters
    ----------
    score : DetectionScore
        Score of the annotated cells and *all* predictions in the area.
    area_mm2 : float

    Notes
    -----
    The supplement of ECE names Rec_exc without a formula; here it is the fraction of annotated cells that
    are matched.
    """
    return ExclusiveRecall(score.recall, score.predictions / area_mm2)


@dataclass(frozen=True)
class BestThreshold:
    """The highest value of a metric and the lowest threshold with that value."""

    value: float
    threshold: float


def best_threshold(
    metric: Callable[[float], float], thresholds: tuple[float, ...] = THRESHOLDS
) -> BestThreshold:
    """A metric at its best threshold: the performance of a calibrated model.

    The control for losses that only improve calibration: cross-entropy on sparse labels may rank well and
    still fail at a threshold of 0.5.
    """
    values = [metric(threshold) for threshold in thresholds]
    best = int(np.argmax(values))
    return BestThreshold(values[best], thresholds[best])


def _score(found: int, predicted: int, known: int) -> DetectionScore:
    return DetectionScore(found, predicted - found, known - found)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _with_zero(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Flat labels, negative ones set to 0, with one additional pixel of 0."""
    return np.append(np.maximum(np.asarray(labels, np.int64).ravel(), 0), 0)
