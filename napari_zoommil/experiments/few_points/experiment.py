"""Fine-tuning of the shipped model with sixty points and various losses: the evidence for ``interactive``.

    python -m napari_zoommil.experiments.few_points.experiment --work FOLDER [--data FOLDER] [--model yollo]

Four tiles with all nuclei known are joined to a slide, some random nuclei are annotated, and the model is
fine-tuned by ``finetune``. Its detections are evaluated on the whole slide: F1 of centres within half a cell
diameter and of boxes at an IoU above 0.5, at the threshold of the initial model, at that of the new model,
and at the best one, which is known only with all nuclei annotated.

The tiles are the training tiles of ``sparse-labels``; its test tiles are not used.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tifffile import imwrite

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.annotations.classes import CLASS_CYCLE
from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.losses.schedules import constant
from napari_zoommil.cells.metrics import THRESHOLDS, box_score, centre_score
from napari_zoommil.cells.model import Finds
from napari_zoommil.experiments.data.nuclei import Tile, nuclei_folder, read_tiles, split_tiles
from napari_zoommil.jobs import detect, finetune, run
from napari_zoommil.training.cells import presets

MPP = 0.25
NUCLEUS = CellClass("nucleus", CLASS_CYCLE[0], 8.0)
REACH_PX = NUCLEUS.diameter_um / MPP / 2
TILES = 4


@dataclass(frozen=True)
class Method:
    """A method of fine-tuning; ``threshold`` and ``sampling`` are those of exclusive cross-entropy."""

    loss: str
    threshold: float | None = None
    sampling: float | None = None
    learning_rate: float | None = None
    epochs: int | None = None

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items() if value is not None)

    @property
    def options(self) -> dict[str, Any]:
        values = {"threshold": self.threshold, "sampling": self.sampling}
        return {name: constant(value) for name, value in values.items() if value is not None}


METHODS = (
    *map(Method, ("ce", "weighted-ce", "focal", "ece", "ece-margin")),
    Method("ece-margin", threshold=0.9, sampling=0.5),
    Method("ece-margin", learning_rate=5e-4),
)


class F1(NamedTuple):
    """F1 of centres and of boxes."""

    centres: float
    boxes: float


class Result(NamedTuple):
    """A method and its F1 at the threshold of the initial model (``begun``), at that of the new model, and
    at the best threshold for each F1."""

    slide: int
    seed: int
    method: str
    threshold: float
    begun_centres: float
    begun_boxes: float
    centres: float
    boxes: float
    best_centres: float
    best_boxes: float
    seconds: float = 0.0


def write_slide(tiles: list[Tile], path: Path) -> NDArray[np.float64]:
    """Join four tiles to a slide; returns (n, 4) boxes of all nuclei, level-0 px."""
    images = [tile.image for tile in tiles]
    height, width = images[0].shape[:2]
    image = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    resolution = (1e4 / MPP, 1e4 / MPP)
    imwrite(path, image, tile=(256, 256), photometric="rgb", resolution=resolution, resolutionunit=3)
    boxes = [
        instance_boxes(tile.instances)[0] + np.tile([height * row, width * column], 2)
        for tile, (row, column) in zip(tiles, np.ndindex(2, 2), strict=True)
    ]
    return np.concatenate(boxes)


def f1(known: Finds, finds: Finds, threshold: float) -> F1:
    counted = finds.chosen(finds.scores >= threshold)
    return F1(
        centre_score(known.centres, counted.centres, REACH_PX).f1,
        box_score(known.boxes, counted.boxes, counted.scores).f1,
    )


def judged(known: Finds, finds: Finds, begun: float, own: float) -> tuple[float, ...]:
    """The figures of :class:`Result` from ``threshold`` on."""
    best = map(max, zip(*(f1(known, finds, threshold) for threshold in THRESHOLDS), strict=True))
    return (own, *f1(known, finds, begun), *f1(known, finds, own), *best)


def compare(
    slide: Path, known: Finds, model: str, methods: tuple[Method, ...], count: int, seed: int, work: Path
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yields method and metrics; first those of the initial model."""
    found = run(detect(slide, model))
    begun = found.threshold
    yield "as it is", judged(known, found.finds, begun, begun)
    points = Points(classes=[NUCLEUS])
    points.add(known.centres[np.random.default_rng(seed).choice(len(known), count, replace=False)], 1)
    usual = presets.CONSTANT
    for method in methods:
        presets.CONSTANT = method.options or usual
        job = finetune(
            slide,
            points,
            model,
            out=work / f"model {slide.stem}",
            loss=method.loss,  # type: ignore[arg-type]
            learning_rate=method.learning_rate,
            epochs=method.epochs,
            seed=seed,
            overwrite=True,
        )
        result = run(job)
        presets.CONSTANT = usual
        found = run(detect(slide, str(result.model)))
        yield str(method), (*judged(known, found.finds, begun, found.threshold), result.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--model", default="yollo")
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--slides", type=int, nargs="+", help="numbers of the slides to use; all by default")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tiles = split_tiles(read_tiles(nuclei_folder(args.data)))["train"]
    writer = csv.writer(sys.stdout)
    writer.writerow(Result._fields)
    for number, seed in product(args.slides or range(len(tiles) // TILES), args.seeds):
        path = args.work / f"slide{number}.tif"
        boxes = write_slide(tiles[TILES * number : TILES * (number + 1)], path)
        known = Finds(boxes, np.ones(len(boxes)), np.ones(len(boxes), np.int64))
        for method, values in compare(path, known, args.model, METHODS, args.points, seed, args.work):
            writer.writerow(Result(number, seed, method, *(round(value, 3) for value in values)))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
