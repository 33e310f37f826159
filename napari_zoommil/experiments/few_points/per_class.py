"""Fine-tuning with a few points per class on slides with all nuclei known: the new model against the old one.

    python -m napari_zoommil.experiments.few_points.per_class SLIDE... --work FOLDER [--points N] [--draws N]

Beside each SLIDE lies ``SLIDE.cells.csv`` with a line for each nucleus: y, x, height and width in level-0 px,
and the source of its tissue (columns y, x, height, width, tile). Sources are dealt to two classes, so that a
class is a kind of tissue. In each draw some nuclei of each class are annotated, and ``finetune`` and
``detect`` are called with their defaults.

A line of the table has the threshold, and recall, precision and F1 of centres at most 4 µm away against all
known nuclei, of any class, before and after.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.annotations.classes import CLASS_CYCLE
from napari_zoommil.cells.metrics import DetectionScore, centre_score
from napari_zoommil.jobs import detect, finetune, run
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides import Slide

REACH_UM = 4.0
CLASSES = tuple(CellClass(name, CLASS_CYCLE[index], 8.0) for index, name in enumerate(("first", "second")))


class Known(NamedTuple):
    """(n, 2) centres of all nuclei, level-0 px, and (n,) class of each, 0 for none."""

    centres: NDArray[np.float64]
    labels: NDArray[np.int64]


class Line(NamedTuple):
    """A draw; the same figures before and after."""

    slide: str
    draw: int
    threshold_before: float
    threshold: float
    recall_before: float
    recall: float
    precision_before: float
    precision: float
    f1_before: float
    f1: float
    seconds: float


def read_known(path: Path) -> Known:
    """All nuclei of a slide, in two classes of nearly equal size by the source of their tissue."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sources, counts = np.unique([row["tile"] for row in rows], return_counts=True)
    labels = {source: 1 + rank % 2 for rank, source in enumerate(sources[np.argsort(-counts)])}
    centres = np.array([(float(row["y"]), float(row["x"])) for row in rows])
    return Known(centres, np.array([labels[row["tile"]] for row in rows]))


def drawn(known: Known, count: int, seed: int) -> Points:
    """A few annotated nuclei of each class."""
    random, points = np.random.default_rng(seed), Points(classes=list(CLASSES))
    for label in range(1, len(CLASSES) + 1):
        own = np.flatnonzero(known.labels == label)
        points.add(known.centres[random.choice(own, count, replace=False)], label)
    return points


def scored(known: Known, found: Detection, mpp: float) -> DetectionScore:
    """Detections that count against all nuclei."""
    return centre_score(known.centres, found.counting().centres, REACH_UM / mpp)


def draws(slide: Path, model: str, points: int, seeds: range, work: Path) -> Iterator[Line]:
    """A line for each draw on a slide."""
    known = read_known(slide.with_suffix(".cells.csv"))
    with Slide.open(slide) as opened:
        mpp = float(np.mean(opened.resolution()))
    before = run(detect(slide, model))
    old = scored(known, before, mpp)
    for seed in seeds:
        out = work / f"{slide.stem} {seed}"
        result = run(finetune(slide, drawn(known, points, seed), model, out=out, seed=seed, overwrite=True))
        after = run(detect(slide, str(result.model)))
        new = scored(known, after, mpp)
        figures = (old.recall, new.recall, old.precision, new.precision, old.f1, new.f1)
        shown = (round(value, 4) for value in (before.threshold, after.threshold, *figures, result.seconds))
        yield Line(slide.stem, seed, *shown)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="yollo")
    parser.add_argument("--points", type=int, default=15, help="of each class")
    parser.add_argument("--draws", type=int, default=10, help="on each slide")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    writer = csv.writer(sys.stdout)
    writer.writerow(Line._fields)
    for slide in args.slides:
        for line in draws(slide, args.model, args.points, range(args.draws), args.work):
            writer.writerow(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
