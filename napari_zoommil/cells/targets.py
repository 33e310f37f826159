"""Training targets per pixel or per box, made from annotations.

0 = not annotated, 1, 2, … = annotated class, −1 = known background: inside a complete region and outside
every cell. Points are (y, x) in pixels of the window, where pixel i spans [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask
from torch import Tensor

from napari_zoommil.cells.boxes import anchor_boxes, as_boxes, as_points, iou_matrix, size_iou
from napari_zoommil.cells.outputs import BoxOutput
from napari_zoommil.errors import ModelError

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

NOT_ANNOTATED, BACKGROUND = 0, -1


def region_mask(polygons: Sequence[ArrayLike], shape: tuple[int, int]) -> Mask:
    """Pixels of an (h, w) window whose centres are in any of the polygons, each (n, 2) (y, x)."""
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        mask |= polygon2mask(shape, np.asarray(polygon) - 0.5)
    return mask


def disc_targets(
    points: ArrayLike,
    labels: ArrayLike,
    diameters: ArrayLike,
    shape: tuple[int, int],
    complete: Mask | bool = False,
    gap: bool = True,
) -> Labels:
    """Targets with a disc for each annotated point.

    Parameters
    ----------
    points : (M, 2)
        Points outside the window are included if their discs extend into it.
    labels : (M,) int
        Classes, from 1.
    diameters : float or (M,)
        px. In overlaps of discs a pixel belongs to the nearest point.
    shape : (int, int)
    complete : (h, w) bool or bool
        Where every cell is annotated: there, pixels outside all discs are background.
    gap : bool
        Leave one pixel between touching discs of different points, so that they stay two cells: known
        background in complete regions, else not annotated.

    Returns
    -------
    (h, w) int64
    """
    centres = as_points(points)
    radii = np.broadcast_to(np.asarray(diameters, np.float64) / 2, len(centres))
    owner, nearest = np.zeros(shape, np.int64), np.full(shape, np.inf)
    for number, (point, radius) in enumerate(zip(centres, radii, strict=True), 1):
        low = np.clip(np.floor(point - radius), 0, shape).astype(int)
        high = np.clip(np.ceil(point + radius), 0, shape).astype(int)
        window = tuple(slice(*edges) for edges in zip(low, high, strict=True))
        y, x = (np.arange(a, b) + 0.5 - middle for a, b, middle in zip(low, high, point, strict=True))
        distance = np.hypot(y[:, None], x)
        closer = (distance <= radius) & (distance < nearest[window])
        owner[window][closer], nearest[window][closer] = number, distance[closer]
    return _with_background(np.append(0, np.asarray(labels, np.int64)), owner, complete, gap)


def instance_targets(
    instances: NDArray[np.integer],
    keep: Collection[int] | None = None,
    classes: Mapping[int, int] | None = None,
    complete: Mask | bool = False,
    gap: bool = False,
) -> Labels:
    """Targets of an (h, w) instance map (0 = background) of which only some instances are annotated.

    Parameters
    ----------
    instances : (h, w) int
    keep : collection of int, optional
        Annotated instances, all by default. The others become "not annotated", also in complete regions.
    classes : mapping of instance to class, optional
        Class 1 by default.
    complete, gap
        As in :func:`disc_targets`.

    Returns
    -------
    (h, w) int64
    """
    kept = np.unique(instances[instances > 0]) if keep is None else np.array(sorted(keep), np.int64)
    label_of = np.zeros(max(int(instances.max(initial=0)), int(kept.max(initial=0))) + 1, np.int64)
    label_of[kept] = 1 if classes is None else [classes[int(number)] for number in kept]
    return _with_background(label_of, instances, complete, gap)


def nested_subset(numbers: ArrayLike, share: float, seed: int) -> Labels:
    """A random share of (M,) numbers; for one seed, a smaller share is a subset of a larger one."""
    drawn = np.random.default_rng(seed).permutation(np.sort(np.asarray(numbers, np.int64)))
    return np.sort(drawn[: round(share * len(drawn))])


def _with_background(
    label_of: Labels, owner: NDArray[np.integer], complete: Mask | bool, gap: bool
) -> Labels:
    target, empty = label_of[owner], owner == 0
    if gap:
        seam = _seams(np.where(target > 0, owner, 0))
        target[seam] = NOT_ANNOTATED
        empty |= seam
    target[empty & complete] = BACKGROUND
    return target


def _seams(owner: NDArray[np.integer]) -> Mask:
    """Pixels whose upper or left neighbour is in another cell: lines one pixel wide."""
    seam = np.zeros(owner.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        seam[here] |= (owner[here] != owner[there]) & (owner[here] > 0) & (owner[there] > 0)
    return seam


class BoxTargets(NamedTuple):
    """Targets of a detector's N boxes; arrays for one window, (B, N …) tensors when collated.

    Attributes
    ----------
    labels : (N,) int64
        0, 1, 2, … or −1; above 0 for boxes that are assigned to an annotated cell.
    offsets : (N, 4) float32
        As in :class:`.outputs.BoxOutput`; 0 for boxes without an assigned cell.
    trained : (N,) bool
        False for unassigned boxes with a large IoU with an annotated cell, which the loss ignores.
    """

    labels: Any
    offsets: Any
    trained: Any


def assign_boxes(
    boxes: ArrayLike,
    labels: ArrayLike,
    shape: tuple[int, int],
    anchors: Sequence[tuple[float, float]],
    complete: Mask | bool = False,
    ignore_iou: float = 0.5,
    stride: int = 8,
) -> BoxTargets:
    """Assign annotated cells to boxes of a detector (YOLOv2, sec. 2).

    A cell is assigned to the grid cell that contains its centre, and there to the free anchor of the most
    similar size. A cell is not assigned if all anchors are taken or its centre is outside the window.
    Unlike in YOLOv2, boxes are ignored by the IoU of their anchor and not of their current prediction, so
    that targets are constant during training.

    Parameters
    ----------
    boxes : (M, 4)
        px.
    labels : (M,) int
        Classes, from 1.
    shape : (int, int)
        Height and width of the window, px.
    anchors : sequence of (height, width)
    complete : (h, w) bool or bool
        Where every cell is annotated: unassigned boxes whose grid cell is centred there are background.
    ignore_iou : float
        Unassigned boxes with a larger IoU with an annotated one are not trained.
    stride : int
        Edge of a grid cell, px.
    """
    known_boxes, priors = as_boxes(boxes), anchor_boxes(shape, anchors, stride)
    assigned = _responsible(known_boxes, shape, anchors, stride)
    rows, cells = (np.array(values, np.int64) for values in (list(assigned), list(assigned.values())))
    y, x = ((priors[:, :2] + priors[:, 2:]) / 2).astype(np.int64).T
    inside = (y < shape[0]) & (x < shape[1])
    known = np.zeros(len(priors), bool)
    known[inside] = np.broadcast_to(np.asarray(complete), shape)[y[inside], x[inside]]

    target = np.where(known, BACKGROUND, NOT_ANNOTATED)
    target[rows] = np.asarray(labels, np.int64)[cells]
    trained = iou_matrix(priors, known_boxes).max(1, initial=0) <= ignore_iou
    trained[rows] = True
    offsets = np.zeros((len(priors), 4), np.float32)
    offsets[rows, :2] = (known_boxes[cells, :2] + known_boxes[cells, 2:]) / 2 / stride % 1
    offsets[rows, 2:] = np.log(_sizes(known_boxes[cells]) / _sizes(priors[rows]))
    return BoxTargets(target, offsets, trained)


def _responsible(
    boxes: NDArray, shape: tuple[int, int], anchors: Sequence[tuple[float, float]], stride: int
) -> dict[int, int]:
    """Row of the detector's box → row of the annotated box."""
    centres, columns = (boxes[:, :2] + boxes[:, 2:]) / 2, -(-shape[1] // stride)
    fit = size_iou(_sizes(boxes), anchors)
    taken: dict[int, int] = {}
    for row in np.argsort(-fit.max(1, initial=0), kind="stable"):
        if (centres[row] < 0).any() or (centres[row] >= shape).any():
            continue
        y, x = (centres[row] // stride).astype(int)
        first = (y * columns + x) * len(anchors)
        free = [
            first + anchor for anchor in np.argsort(-fit[row], kind="stable") if first + anchor not in taken
        ]
        if free:
            taken[int(free[0])] = int(row)
    return taken


def _sizes(boxes: NDArray) -> NDArray:
    return boxes[:, 2:] - boxes[:, :2]


def detection_loss(
    output: BoxOutput,
    targets: BoxTargets,
    loss: Callable[[Tensor, Tensor, float], Tensor],
    progress: float,
    lambda_objects: float = 1.0,
    lambda_background: float = 10.0,
    lambda_boxes: float = 1.0,
) -> Tensor:
    """Loss of a detector for a batch (supplement of ECE, sec. 3, for the two weights of the scores).

    λ_boxes · mean squared error of the assigned boxes, summed over the four offsets,
    + λ_objects · mean score loss of the assigned + λ_background · mean score loss of the others. The
    paper does not state its box loss; this is that of YOLOv2. Elements with a loss of 0 count in the mean.

    Parameters
    ----------
    output, targets
        Both with a batch axis.
    loss : callable (logits (B, C, N), targets (B, N), progress) → (B, N)
        A cell loss without reduction.
    progress : float
        Progress of the training, 0 to 1.

    Raises
    ------
    ModelError
        If the loss reduces.
    """
    scores = loss(output.scores, targets.labels, progress)
    if scores.shape != targets.labels.shape:
        raise ModelError("the loss of a detector is weighted per box: build it with reduction='none'")
    assigned = targets.labels > 0
    regression = (output.offsets - targets.offsets).square().sum(-1)
    return (
        lambda_boxes * _mean(regression, assigned)
        + lambda_objects * _mean(scores, assigned)
        + lambda_background * _mean(scores, targets.trained & ~assigned)
    )


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean over some elements, 0 if there are none; without indexing, which would synchronise the GPU."""
    return torch.where(where, values, 0).sum() / where.sum().clamp(min=1)
