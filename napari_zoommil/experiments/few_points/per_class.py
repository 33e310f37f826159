"""Fine-tuning with a few points per class on slides with all nuclei known: the new model against the old one.

    python -m napari_zoommil.experiments.few_points.per_class SLIDE... --work FOLDER
        [--points N...] [--draws N] [--figure FILE.svg]

Beside each SLIDE lies ``SLIDE.cells.csv`` with a line for each nucleus: y, x, height and width in level-0 px,
and the source of its tissue (columns y, x, height, width, tile). Sources are dealt to two classes, so that a
class is a kind of tissue. In each draw some nuclei of each class are annotated, and ``finetune`` and
``detect`` are called with their defaults.

A line of the table has the number of annotated nuclei of each class, the threshold, and recall, precision and
F1 of centres at most 4 µm away against all known nuclei, of any class, before and after. The figure shows
their means over slides and draws.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.annotations.classes import CLASS_CYCLE
from napari_zoommil.cells.metrics import DetectionScore, centre_score
from napari_zoommil.experiments.charts import Line as Curve
from napari_zoommil.experiments.charts import Panel, write_svg
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
    points: int
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


def draws(slide: Path, model: str, counts: Sequence[int], seeds: range, work: Path) -> Iterator[Line]:
    """A line for each number of points of a class and each draw on a slide."""
    known = read_known(slide.with_suffix(".cells.csv"))
    with Slide.open(slide) as opened:
        mpp = float(np.mean(opened.resolution()))
    before = run(detect(slide, model))
    old = scored(known, before, mpp)
    for points, seed in product(counts, seeds):
        out = work / f"{slide.stem} {points} {seed}"
        result = run(finetune(slide, drawn(known, points, seed), model, out=out, seed=seed, overwrite=True))
        after = run(detect(slide, str(result.model)))
        new = scored(known, after, mpp)
        figures = (old.recall, new.recall, old.precision, new.precision, old.f1, new.f1)
        shown = (round(value, 4) for value in (before.threshold, after.threshold, *figures, result.seconds))
        yield Line(slide.stem, points, seed, *shown)


def panels(lines: Sequence[Line]) -> list[Panel]:
    """F1, and recall with precision, against the number of points of a class; error bars are standard
    deviations over slides and draws."""
    found: dict[str, list[float]] = {}
    counts = sorted({line.points for line in lines})
    for count in counts:
        own = [line for line in lines if line.points == count]
        for name in ("f1", "recall", "precision", "f1_before", "recall_before", "precision_before"):
            values = [getattr(line, name) for line in own]
            found.setdefault(name, []).append(float(np.mean(values)))
            found.setdefault(f"{name} ±", []).append(float(np.std(values)))

    def curves(name: str, shown: str) -> list[Curve]:
        after = Curve(f"{shown}, fine-tuned", counts, found[name], found[f"{name} ±"])
        return [after, Curve(f"{shown}, before", counts, found[f"{name}_before"])]

    both = [*curves("recall", "recall"), *curves("precision", "precision")]
    axis = "points of each of two classes"
    return [
        Panel("F1 of all nuclei", axis, "", curves("f1", "F1")),
        Panel("Recall, precision", axis, "", both),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="yollo")
    parser.add_argument("--points", type=int, nargs="+", default=[15], help="of each class")
    parser.add_argument("--figure", type=Path, help="SVG file for the means")
    parser.add_argument("--draws", type=int, default=10, help="on each slide")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    writer = csv.writer(sys.stdout)
    writer.writerow(Line._fields)
    lines = []
    for slide in args.slides:
        for line in draws(slide, args.model, args.points, range(args.draws), args.work):
            lines.append(line)
            writer.writerow(line)
            sys.stdout.flush()
    if args.figure:
        write_svg(args.figure, panels(lines))


if __name__ == "__main__":
    main()
