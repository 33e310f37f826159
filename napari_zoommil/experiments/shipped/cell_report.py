"""How the shipped cell models do, and their cards."""

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
"""F1 that may be lacking at the threshold that is chosen."""

Metrics = dict[str, dict[str, float]]
"""Set → metric → value."""


class _Said(nn.Module):
    """Repeats what a network said of an image, so that many thresholds cost one look."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Any:
        return self.output


@dataclass(frozen=True, eq=False)
class Look:
    """A tile and what a network said of it."""

    tile: Tile
    images: Tensor
    said: _Said
    spec: CellSpec

    @property
    def masked(self) -> bool:
        """Whether the threshold decides what is found and not only what counts."""
        return self.spec.architecture == "unet"

    @cached_property
    def every(self) -> Finds:
        """What a detector finds, however unlikely."""
        return find(self.said, self.spec, self.images)[0]

    @classmethod
    @torch.inference_mode()
    def at(cls, network: UNet | YOLLO, spec: CellSpec, tile: Tile) -> Look:
        images = as_images(tile.image[None])
        return cls(tile, images, _Said(network(images)), spec)

    def finds(self, threshold: float) -> Finds:
        """What counts from a threshold on."""
        spec = replace(self.spec, threshold=threshold)
        found = find(self.said, spec, self.images)[0] if self.masked else self.every
        return found.chosen(found.scores >= threshold)

    def typical_px(self, threshold: float) -> float:
        """Median size of what is found; a pixel where nothing is."""
        boxes = self.finds(threshold).boxes
        sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        return float(np.median(sizes)) if len(sizes) else 1.0

    def score(self, threshold: float) -> DetectionScore:
        """Boxes of nuclei at an IoU above 0.5."""
        return box_score(instance_boxes(self.tile.instances)[0], self.finds(threshold))

    def instances(self, threshold: float, sure: float = 0.0) -> NDArray[np.int32]:
        """A number per nucleus of at least a score, (h, w); of a detector, ellipses within its boxes."""
        if self.masked:
            maps = class_probabilities(self.said.output)[0].numpy()
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
    """Found, invented and missed nuclei, one to one, at an IoU above 0.5."""
    right = int((match_boxes(known, found.boxes, found.scores) >= 0).sum())
    return DetectionScore(right, len(found) - right, len(known) - right)


def total(looks: Sequence[Look]) -> Callable[[float], float]:
    """F1 over all tiles, by threshold."""
    return lambda threshold: reduce(add, (look.score(threshold) for look in looks)).f1


def chosen_threshold(network: UNet | YOLLO, spec: CellSpec, tiles: Sequence[Tile]) -> float:
    """The highest threshold whose F1 is nearly the best.

    F1 hardly changes around its best, and tissue that a model has never seen holds more that looks like a
    nucleus.
    """
    f1 = total([Look.at(network, spec, tile) for tile in tiles])
    values = {threshold: f1(threshold) for threshold in THRESHOLDS}
    return max(threshold for threshold, value in values.items() if value >= max(values.values()) - NEARLY)


def tile_metrics(network: UNet | YOLLO, spec: CellSpec, tiles: Sequence[Tile]) -> dict[str, float]:
    """F1 over all tiles, Dice and AJI as means, at the model's threshold; and F1 at the best one."""
    looks = [Look.at(network, spec, tile) for tile in tiles]
    masks = [(look.tile.instances, look.instances(spec.threshold)) for look in looks]
    best = best_threshold(total(looks), THRESHOLDS)
    return {
        "F1": total(looks)(spec.threshold),
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
    "dsb2018": "dsb2018, tiles held out",
    "synthetic": "drawn tissue, a texture held out",
    "monuseg": "MoNuSeg, 13 tiles, never trained on",
    "slide": "a slide composed of real tissue with known nuclei, likewise",
}
"""What the sets of the figures are."""

COLUMNS = ("F1", "best F1", "its threshold", "Dice", "AJI", "precision", "recall")

MASKS = {
    "unet": "Nuclei are the pieces of its map, cut at the threshold and split by a watershed.",
    "yollo": "Its masks are ellipses within its boxes.",
}

SIZES = {
    "unet": "at a width of {width} where the published network has 64, and with `{padding}` padding",
    "yollo": "at a width of {width}; none is published",
}


def card(spec: CellSpec, network: UNet | YOLLO, rounds: str) -> str:
    """Model card in the hub's form; ``rounds`` says how long it was trained."""
    figures = spec.training.get("figures", {})
    rows = ((ABOUT[name], *(_cell(values, column) for column in COLUMNS)) for name, values in figures.items())
    architecture = spec.architecture
    weights = sum(parameter.numel() for parameter in network.parameters())
    text = f"""
Finds nuclei (one class, `nucleus`) at {spec.mpp:g} µm/px, on slides of 20x and 40x alike: a slide is
resampled as it is read, and a nucleus of 6 µm is then 17 px wide. It is a beginning for fine-tuning on one's
own cells, made in minutes from little free data, and **serves no diagnosis**.

{weights:,} parameters in single precision, {SIZES[architecture].format(**spec.config)}.
Finds count from a score of {spec.threshold:g} on, the highest that comes within {NEARLY} of the best F1
on held-out tiles of dsb2018 in the colours of other tissue.

## What it learned from

- **dsb2018** (2018 Data Science Bowl, BBBC038, CC0): the tiles that are stained sections from edge to
  edge. Their resolution is not stated, so each was scaled to nuclei of a median diameter of 5 to 9 µm, drawn
  anew for every copy; most are purple throughout, so most copies were given the colours of the tiles below.
- **Drawn tissue** of this package's synthetic slides, whose nuclei are known.
- **Tiles of six TCGA slides** (open access) without labels: nuclei that the model was sure of after a first
  round were taken for known in a second one, with exclusive cross-entropy (Panteli 2021) for all else.

{rounds}

## Figures

F1 is that of boxes at an IoU above 0.5, over all nuclei of a set, at the model's threshold; *best F1* is at
the threshold that is best for that very set, of which nobody knows it beforehand. Dice and AJI are means over
tiles. {MASKS[architecture]}

{markdown_table(("set", *COLUMNS), rows)}

Held-out tiles come from the same set as those learned from and look like them. The sets that were never
trained on do not, and tell what to expect on another slide; but resolution, losses and the rule for the
threshold were settled with the figures on MoNuSeg in view.

Made by `python -m napari_zoommil.experiments.shipped.cell_models`.
"""
    tags = ["cell-detection", "nuclei", architecture]
    return model_card(f"{architecture}: nuclei in H&E", text, tags=tags, license="bsd-3-clause")


def _cell(values: dict[str, float], column: str) -> str:
    return f"{values[column]:.2f}" if column in values else "–"
