"""Evaluation of a model trained on sparse labels, at three operating points.

``half`` is a threshold of 0.5. ``chosen`` is the best threshold on the validation tiles, which are annotated
as sparsely as the training tiles. ``oracle`` is the best threshold on the completely annotated test tiles:
the performance with perfect calibration, which is not possible in practice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_zoommil.cells.boxes import instance_boxes, nms
from napari_zoommil.cells.instances import find_cells
from napari_zoommil.cells.metrics import (
    THRESHOLDS,
    DetectionScore,
    aji,
    best_threshold,
    dice,
    exclusive_recall,
    match_boxes,
)
from napari_zoommil.cells.model import NMS_IOU, as_images
from napari_zoommil.cells.outputs import class_probabilities
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.experiments.data.nuclei import Tile
from napari_zoommil.slides.readers.base import RGB

Scores = dict[str, dict[str, float]]
"""Metric → operating point → value."""

TRIED = (0.01, 0.02, 0.03, *THRESHOLDS)
"""Thresholds; low ones too, because with a tenth of the labels cross-entropy gives low probabilities."""


def operating_points(
    validation: Callable[[float], float], test: Callable[[float], float]
) -> dict[str, float]:
    """Thresholds of the three operating points, from a metric on the validation and on the test set."""
    return {
        "half": 0.5,
        "chosen": best_threshold(validation, TRIED).threshold,
        "oracle": best_threshold(test, TRIED).threshold,
    }


def scores_of(
    network: UNet | YOLLO, validation: Sequence[Tile], test: Sequence[Tile], diameter: float, mpp: float
) -> Scores:
    """All metrics of a model.

    Parameters
    ----------
    network : UNet or YOLLO
    validation : sequence of Tile
        Annotated as sparsely as the training tiles.
    test : sequence of Tile
        Completely annotated.
    diameter : float
        Diameter of a nucleus for splitting masks, px.
    mpp : float
        Resolution of the tiles, µm/px.
    """
    network.eval()
    if isinstance(network, UNet):
        return _mask_scores(network, validation, test, diameter)
    return _box_scores(network, validation, test, mpp)


@torch.inference_mode()
def probability_map(network: UNet, image: RGB) -> NDArray[np.float32]:
    """(h, w) probability of a nucleus; the tile is padded by reflection (U-Net, fig. 2)."""
    height, width = image.shape[:2]
    sizes = [network.input_size(edge) for edge in (height, width)]
    margin = (sizes[0] - network.output_size(sizes[0])) // 2
    after = [size - edge - margin for size, edge in zip(sizes, (height, width), strict=True)]
    padded = np.pad(image, ((margin, after[0]), (margin, after[1]), (0, 0)), mode="reflect")
    device = next(network.parameters()).device
    output = network(as_images(padded[None]).to(device))
    return class_probabilities(output)[0].sum(0)[:height, :width].float().cpu().numpy()


def _mask_scores(network: UNet, validation: Sequence[Tile], test: Sequence[Tile], diameter: float) -> Scores:
    """Mean Dice and AJI over tiles; thresholds are those with the best Dice."""
    chosen_on, judged_on = (
        [(probability_map(network, tile.image), tile.instances) for tile in tiles]
        for tiles in (validation, test)
    )

    def mean_dice(maps: list[tuple[NDArray, NDArray]]) -> Callable[[float], float]:
        return lambda threshold: float(
            np.mean([dice(known > 0, found >= threshold) for found, known in maps])
        )

    def mean_aji(threshold: float) -> float:
        return float(
            np.mean([aji(known, find_cells(found, diameter, threshold).labels) for found, known in judged_on])
        )

    points = operating_points(mean_dice(chosen_on), mean_dice(judged_on))
    judge = mean_dice(judged_on)
    return {
        "threshold": points,
        "dice": {name: judge(threshold) for name, threshold in points.items()},
        "aji": {name: mean_aji(threshold) for name, threshold in points.items()},
    }


class Matched(NamedTuple):
    """Boxes of a tile after suppression, (P,): scores, and whether each matches one of ``known`` nuclei."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    known: int

    def at(self, threshold: float) -> DetectionScore:
        """Score at a threshold; neither suppression nor matching depends on boxes with lower scores."""
        counted = self.scores >= threshold
        right = int((counted & self.right).sum())
        return DetectionScore(right, int(counted.sum()) - right, self.known - right)


@torch.inference_mode()
def matched_boxes(network: YOLLO, tile: Tile) -> Matched:
    """Detections on a tile, matched at an IoU above 0.5, suppressed at 0.2 (supplement of ECE, Table 2)."""
    device = next(network.parameters()).device
    output = network(as_images(tile.image[None]).to(device))
    scores = class_probabilities(output.scores)[0].sum(0).double().cpu().numpy()
    boxes = output.boxes[0].double().cpu().numpy()
    likely = np.flatnonzero(scores >= TRIED[0])
    kept = likely[nms(boxes[likely], scores[likely], NMS_IOU)]
    known = instance_boxes(tile.instances)[0]
    return Matched(scores[kept], match_boxes(known, boxes[kept], scores[kept]) >= 0, len(known))


def _box_scores(network: YOLLO, validation: Sequence[Tile], test: Sequence[Tile], mpp: float) -> Scores:
    """F1 over all test tiles; exclusive recall and density of predictions over the validation tiles."""
    sparse, whole = ([matched_boxes(network, tile) for tile in tiles] for tiles in (validation, test))

    def total(matched: list[Matched], threshold: float) -> DetectionScore:
        return reduce(add, (one.at(threshold) for one in matched))

    points = operating_points(lambda t: total(sparse, t).f1, lambda t: total(whole, t).f1)
    area = sum(tile.instances.size for tile in validation) * (mpp / 1000) ** 2
    exclusive = {name: exclusive_recall(total(sparse, t), area) for name, t in points.items()}
    return {
        "threshold": points,
        "f1": {name: total(whole, threshold).f1 for name, threshold in points.items()},
        "exclusive_recall": {name: one.recall for name, one in exclusive.items()},
        "predictions_per_mm2": {name: one.predictions_per_mm2 for name, one in exclusive.items()},
    }
