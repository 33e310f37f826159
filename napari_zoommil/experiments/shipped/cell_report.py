"""Evaluation of the shipped cell models, and their model cards."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.draw import ellipse
from torch import Tensor, nn

from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.instances import find_cells
from napari_zoommil.cells.metrics import (
    THRESHOLDS,
    DetectionScore,
    aji,
    best_threshold,
    dice,
    match_boxes,
)
from napari_zoommil.cells.model import Finds, as_images, find
from napari_zoommil.cells.outputs import class_probabilities
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.experiments.data.nuclei import Tile
from napari_zoommil.jobs import detect, run
from napari_zoommil.model_card import markdown_table, model_card

NEARLY = 0.01
"""Largest difference between the best F1 and that at the chosen threshold."""

Metrics = dict[str, dict[str, float]]
"""Set → metric → value."""


class _CachedOutput(nn.Module):
    """Returns a stored output, so that many thresholds need only one forward pass."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Any:
        return self.output


@dataclass(frozen=True, eq=False)
class TileOutput:
    """A tile and the output of a network for it."""

    tile: Tile
    images: Tensor
    cached: _CachedOutput
    spec: CellSpec

    @property
    def masked(self) -> bool:
        """Whether the threshold changes the detections and not only which of them count."""
        return self.spec.architecture == "unet"

    @cached_property
    def every(self) -> Finds:
        """All detections, also unlikely ones."""
        return find(self.cached, self.spec, self.images)[0]

    @classmethod
    @torch.inference_mode()
    def at(cls, network: UNet | YOLLO, spec: CellSpec, tile: Tile) -> TileOutput:
        images = as_images(tile.image[None])
        return cls(tile, images, _CachedOutput(network(images)), spec)

    def finds(self, threshold: float) -> Finds:
        """Detections with at least a score of ``threshold``."""
        spec = replace(self.spec, threshold=threshold)
        found = find(self.cached, spec, self.images)[0] if self.masked else self.every
        return found.chosen(found.scores >= threshold)

    def typical_px(self, threshold: float) -> float:
        """Median size of the detections, px; 1 if there are none."""
        boxes = self.finds(threshold).boxes
        sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        return float(np.median(sizes)) if len(sizes) else 1.0

    def score(self, threshold: float) -> DetectionScore:
        """Score of boxes at an IoU above 0.5."""
        return box_score(instance_boxes(self.tile.instances)[0], self.finds(threshold))

    def instances(self, threshold: float, sure: float = 0.0) -> NDArray[np.int32]:
        """Instance map (h, w) of the detections; for a detector, ellipses inscribed in its boxes."""
        if self.masked:
            maps = class_probabilities(self.cached.output)[0].numpy()
            cells = find_cells(maps, float(self.spec.diameters_px.mean()), threshold)
            return np.where(np.append(False, cells.scores >= sure)[cells.labels], cells.labels, 0)
        labels = np.zeros(self.tile.instances.shape, np.int32)
        found = self.finds(max(threshold, sure))
        for number, row in enumerate(np.argsort(found.scores), 1):
            (y0, x0, y1, x1), shape = found.boxes[row], labels.shape
            rows = ellipse((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5, (y1 - y0) / 2, (x1 - x0) / 2, shape)
            labels[rows] = number
        return labels


def box_score(known: NDArray[np.float64], found: Finds) -> DetectionScore:
    """Detection score with one-to-one matching at an IoU above 0.5."""
    right = int((match_boxes(known, found.boxes, found.scores) >= 0).sum())
    return DetectionScore(right, len(found) - right, len(known) - right)


def total(outputs: Sequence[TileOutput]) -> Callable[[float], float]:
    """F1 over all tiles, as a function of the threshold."""
    return lambda threshold: reduce(add, (output.score(threshold) for output in outputs)).f1


def chosen_threshold(network: UNet | YOLLO, spec: CellSpec, tiles: Sequence[Tile]) -> float:
    """The highest threshold whose F1 is at most :data:`NEARLY` below the best.

    F1 is nearly constant around its maximum, and on unseen tissue false positives are more frequent.
    """
    f1 = total([TileOutput.at(network, spec, tile) for tile in tiles])
    values = {threshold: f1(threshold) for threshold in THRESHOLDS}
    return max(threshold for threshold, value in values.items() if value >= max(values.values()) - NEARLY)


def tile_metrics(network: UNet | YOLLO, spec: CellSpec, tiles: Sequence[Tile]) -> dict[str, float]:
    """F1 over all tiles and mean Dice and AJI at the model's threshold, and F1 at the best threshold."""
    outputs = [TileOutput.at(network, spec, tile) for tile in tiles]
    masks = [(output.tile.instances, output.instances(spec.threshold)) for output in outputs]
    best = best_threshold(total(outputs), THRESHOLDS)
    return {
        "F1": total(outputs)(spec.threshold),
        "Dice": float(np.mean([dice(known > 0, found > 0) for known, found in masks])),
        "AJI": float(np.mean([aji(known, found) for known, found in masks])),
        "best F1": best.value,
        "its threshold": best.threshold,
    }


def slide_metrics(model: Path, slide: Path) -> dict[str, float]:
    """F1 on a slide whose nuclei are in ``NAME.cells.csv``: centre y and x, height and width, level-0 px."""
    with slide.with_suffix(".cells.csv").open(newline="") as file:
        rows = [[float(row[name]) for name in ("y", "x", "height", "width")] for row in csv.DictReader(file)]
    centres, sizes = np.hsplit(np.array(rows), 2)
    detection = run(detect(slide, str(model), threads=1, workers=1))
    found = detection.finds.chosen(detection.finds.scores >= detection.threshold)
    score = box_score(np.hstack([centres - sizes / 2, centres + sizes / 2]), found)
    return {"F1": score.f1, "precision": score.precision, "recall": score.recall}


ABOUT = {
    "dsb2018": "dsb2018, held-out tiles",
    "synthetic": "synthetic tissue, a held-out texture",
    "monuseg": "MoNuSeg, 13 tiles, not used for training",
    "slide": "a slide composed of real tissue with known nuclei, not used for training",
}
"""Descriptions of the test sets."""

COLUMNS = ("F1", "best F1", "its threshold", "Dice", "AJI", "precision", "recall")

MASKS = {
    "unet": "Nuclei are the components of the thresholded map, split by a watershed.",
    "yollo": "Its masks are ellipses inscribed in its boxes.",
}

SIZES = {
    "unet": "with a width of {width} (the published network has 64) and `{padding}` padding",
    "yollo": "with a width of {width} (none is published)",
}


NOT_FOR = (
    "Not for diagnosis, and not for counts that nobody checks: it was trained in minutes on little free "
    "data. Not for stains other than haematoxylin and eosin."
)


def card(spec: CellSpec, network: UNet | YOLLO, rounds: str) -> str:
    """Model card for the hub; ``rounds`` describes the extent of the training."""
    figures = spec.training.get("figures", {})
    rows = ((ABOUT[name], *(_cell(values, column) for column in COLUMNS)) for name, values in figures.items())
    architecture = spec.architecture
    weights = sum(parameter.numel() for parameter in network.parameters())
    text = f"""
Detects nuclei (one class, `nucleus`) at {spec.mpp:g} µm/px, on slides at 20x and 40x: a slide is resampled
when it is read, and a nucleus of 6 µm is then 17 px wide. It is a starting point for fine-tuning on your own
cells.

{weights:,} parameters in single precision, {SIZES[architecture].format(**spec.config)}.
Detections count from a score of {spec.threshold:g}: the highest threshold with an F1 at most {NEARLY} below
the best, on held-out tiles of dsb2018 in the colours of other tissue.

## Training data

- **dsb2018** (2018 Data Science Bowl, BBBC038, CC0): the tiles that are completely covered with stained
  tissue. Their resolution is unknown, so each copy was scaled to a random median diameter of its nuclei
  between 5 and 9 µm. Most tiles are purple, so most copies were given the colours of the tiles below.
- **Synthetic tissue** of this package's synthetic slides, whose nuclei are known.
- **Tiles of six TCGA slides** (open access) without labels: confident detections after the first round were
  pseudo-labels in the second, with exclusive cross-entropy (Panteli 2021) for all other pixels.

{rounds}

## Metrics

F1 is that of boxes at an IoU above 0.5, over all nuclei of a set, at the model's threshold; *best F1* is at
the best threshold for that set, which is not known in practice. Dice and AJI are means over tiles.
{MASKS[architecture]}

{markdown_table(("set", *COLUMNS), rows)}

Held-out tiles are from the same sets as the training tiles and similar to them. The other sets show what to
expect on other slides; but resolution, losses and the rule for the threshold were chosen with knowledge of
the metrics on MoNuSeg.

Made by `python -m napari_zoommil.experiments.shipped.cell_models`.
"""
    tags = ["cell-detection", "nuclei", architecture]
    title = f"{architecture}: nuclei in H&E"
    return model_card(title, text, tags=tags, license="bsd-3-clause", not_for=NOT_FOR)


def _cell(values: dict[str, float], column: str) -> str:
    return f"{values[column]:.2f}" if column in values else "–"
