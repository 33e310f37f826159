"""What sixty points in a window teach the model that ships, loss by loss: the evidence for ``interactive``.

    python -m napari_zoommil.experiments.few_points --work FOLDER [--data FOLDER] [--model yollo]

Four tiles with all nuclei known are laid together as a slide, some nuclei are marked at random, the model is
fine-tuned as ``finetune`` does, and its finds are judged on the whole slide: F1 of centres within half a cell
diameter, at the model's threshold and at the best one, which nobody knows who has not marked everything.
Tiles to train on are those of ``sparse-labels``; its test tiles are not looked at.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import imwrite

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.annotations.classes import CLASS_CYCLE
from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.metrics import THRESHOLDS, centre_score
from napari_zoommil.cells.model import Finds
from napari_zoommil.cells.schedules import constant
from napari_zoommil.experiments.nuclei_data import Tile, nuclei_folder, read_tiles, split_tiles
from napari_zoommil.jobs import detect, finetune, run
from napari_zoommil.training import cell_presets

MPP = 0.25
NUCLEUS = CellClass("nucleus", CLASS_CYCLE[0], 8.0)
REACH_PX = NUCLEUS.diameter_um / MPP / 2
TILES = 4


@dataclass(frozen=True)
class Way:
    """A way to fine-tune; thresholds and schedules as exclusive cross-entropy takes them."""

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


WAYS = (
    Way("ce"),
    Way("weighted-ce"),
    Way("focal"),
    *(Way(gate, threshold, 0.5) for threshold, gate in product((0.5, 0.3, 0.7), ("ece", "ece-margin"))),
)


@dataclass(frozen=True)
class Result:
    """F1 before and after, at the model's threshold and at the best."""

    slide: int
    seed: int
    way: str
    before: float
    before_best: float
    after: float
    after_best: float
    best_threshold: float
    seconds: float


def write_slide(tiles: list[Tile], path: Path) -> NDArray[np.float64]:
    """Lay four tiles together, as a slide; centres of all nuclei, (n, 2) level-0 px."""
    images = [tile.image for tile in tiles]
    height, width = images[0].shape[:2]
    image = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    resolution = (1e4 / MPP, 1e4 / MPP)
    imwrite(path, image, tile=(256, 256), photometric="rgb", resolution=resolution, resolutionunit=3)
    boxes = [
        instance_boxes(tile.instances)[0] + np.tile([height * row, width * column], 2)
        for tile, (row, column) in zip(tiles, np.ndindex(2, 2), strict=True)
    ]
    together = np.concatenate(boxes)
    return (together[:, :2] + together[:, 2:]) / 2


def f1(known: NDArray[np.float64], finds: Finds, threshold: float) -> float:
    return centre_score(known, finds.centres[finds.scores >= threshold], REACH_PX).f1


def best(known: NDArray[np.float64], finds: Finds) -> tuple[float, float]:
    """The best F1 and its threshold."""
    return max((f1(known, finds, threshold), threshold) for threshold in THRESHOLDS)


def compare(
    slide: Path,
    known: NDArray[np.float64],
    model: str,
    ways: tuple[Way, ...],
    count: int,
    seed: int,
    work: Path,
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Way → F1 before, its best, F1 after, its best and where, seconds."""
    found = run(detect(slide, model))
    before = f1(known, found.finds, found.threshold), best(known, found.finds)[0]
    points = Points(classes=[NUCLEUS])
    points.add(known[np.random.default_rng(seed).choice(len(known), count, replace=False)], 1)
    usual = cell_presets.CONSTANT
    for way in ways:
        cell_presets.CONSTANT = way.options or usual
        job = finetune(
            slide,
            points,
            model,
            out=work / f"model {slide.stem}",
            loss=way.loss,  # type: ignore[arg-type]
            learning_rate=way.learning_rate,
            epochs=way.epochs,
            seed=seed,
        )
        result = run(job)
        cell_presets.CONSTANT = usual
        found = run(detect(slide, str(result.model)))
        yield (
            str(way),
            (*before, f1(known, found.finds, found.threshold), *best(known, found.finds), result.seconds),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--model", default="yollo")
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--slides", type=int, nargs="+", help="numbers of those to do; all by default")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    tiles = split_tiles(read_tiles(nuclei_folder(args.data)))["train"]
    writer = csv.writer(sys.stdout)
    writer.writerow(Result.__annotations__)
    for number, seed in product(args.slides or range(len(tiles) // TILES), args.seeds):
        path = args.work / f"slide{number}.tif"
        known = write_slide(tiles[TILES * number : TILES * (number + 1)], path)
        for way, values in compare(path, known, args.model, WAYS, args.points, seed, args.work):
            writer.writerow((number, seed, way, *(round(value, 3) for value in values)))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
