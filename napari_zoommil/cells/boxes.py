"""Boxes (y0, x0, y1, x1) in pixels, where pixel i spans [i, i + 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_zoommil.geometry import Rows

Floats = NDArray[np.float64]


def iou_matrix(first: ArrayLike, second: ArrayLike) -> Floats:
    """Intersection over union of each of (N, 4) boxes with each of (M, 4): (N, M).

    Boxes without an area overlap nothing.
    """
    a, b = as_boxes(first).T[..., None], as_boxes(second).T[:, None]
    intersection = _area(np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:]))
    union = _area(a[:2], a[2:]) + _area(b[:2], b[2:]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def size_iou(first: ArrayLike, second: ArrayLike) -> Floats:
    """IoU of (N, 2) and (M, 2) heights and widths as if all boxes shared their centre: (N, M)."""
    return iou_matrix(*(np.pad(as_points(sizes), ((0, 0), (2, 0))) for sizes in (first, second)))


def as_boxes(values: ArrayLike) -> Floats:
    """Boxes as (N, 4) floats, also if N = 0."""
    return np.reshape(np.asarray(values, np.float64), (-1, 4))


def as_points(values: ArrayLike) -> Floats:
    """Points, or heights and widths, as (N, 2) floats, also if N = 0."""
    return np.reshape(np.asarray(values, np.float64), (-1, 2))


def nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    iou: float = 0.2,
    classes: ArrayLike | None = None,
    sources: ArrayLike | None = None,
) -> Rows:
    """Greedy non-maximum suppression (supplement of ECE, Table 2: 0.2).

    Parameters
    ----------
    boxes : (N, 4)
    scores : (N,)
    iou : float
        A box is dropped if its IoU with a kept one of a higher score is larger than this.
    classes : (N,) int, optional
        Boxes of different classes do not suppress each other.
    sources : (N,) int, optional
        Source of each box, such as its tile: boxes of the same source do not suppress each other.

    Returns
    -------
    (kept,) int64
        Rows of the kept boxes, highest score first; equal scores in the given order.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = as_boxes(boxes)[order]
    if not len(ranked):
        return order
    if classes is not None:
        span = ranked[:, 2].max() - ranked[:, 0].min() + 1
        ranked = ranked + np.asarray(classes)[order, None] * [span, 0, span, 0]
    source = None if sources is None else np.asarray(sources)[order]
    # Only boxes within a band of rows can overlap: the cost depends on the density, not on the slide.
    by_top = np.argsort(ranked[:, 0])
    tops, tallest = ranked[by_top, 0], (ranked[:, 2] - ranked[:, 0]).max()
    alive: NDArray[np.bool_] = np.ones(len(ranked), bool)
    kept = []
    for row, box in enumerate(ranked):
        if not alive[row]:
            continue
        kept.append(row)
        first, last = np.searchsorted(tops, (box[0] - tallest, box[2]))
        near = by_top[first:last]
        near = near[alive[near] & (near > row)]
        if source is not None:
            near = near[source[near] != source[row]]
        alive[near[iou_matrix(box, ranked[near])[0] > iou]] = False
    return order[kept]


def anchor_boxes(shape: tuple[int, int], anchors: Sequence[tuple[float, float]], stride: int) -> Floats:
    """Each anchor around the centre of each grid cell, in the order of a detector's output.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image, px; partly covered grid cells are included.
    anchors : sequence of (height, width)
        px.
    stride : int
        Edge of a grid cell, px.

    Returns
    -------
    (rows · columns · anchors, 4)
        Row by row, column by column, anchor by anchor.
    """
    rows, columns = (-(-extent // stride) for extent in shape)
    centres = (np.indices((rows, columns)).reshape(2, -1).T + 0.5) * stride
    half = as_points(anchors) / 2
    return np.concatenate([centres[:, None] - half, centres[:, None] + half], -1).reshape(-1, 4)


def point_boxes(points: ArrayLike, diameters: ArrayLike) -> Floats:
    """Squares around (M, 2) points, with one or (M,) diameters as edges, px: (M, 4)."""
    centres = as_points(points)
    half = np.broadcast_to(np.asarray(diameters, np.float64), len(centres))[:, None] / 2
    return np.concatenate([centres - half, centres + half], 1)


def instance_boxes(instances: NDArray[np.integer]) -> tuple[Floats, Rows]:
    """The bounding box of each instance of an (h, w) map, (M, 4), and the instances' numbers, (M,)."""
    found = [(i, at) for i, at in enumerate(ndimage.find_objects(instances), 1) if at is not None]
    edges = [(y.start, x.start, y.stop, x.stop) for _, (y, x) in found]
    return as_boxes(edges), np.array([number for number, _ in found], np.int64)


def _area(low: Floats, high: Floats) -> Floats:
    """(2, …) corners → (…)."""
    edges = np.maximum(high - low, 0)
    return edges[0] * edges[1]
