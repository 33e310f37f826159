"""A user who marks sixty cells by key and click and presses Fine-tune, in a real window.

    xvfb-run -a -s "-screen 0 1700x1250x24" python tests/benchmarks/scripted_user.py --json \\
        --slide SLIDE --cells SLIDE.cells.csv [--losses preset ce] [--points 60] [--model yollo] [--seeds 0]

The nuclei of the slide are known: ``--cells`` is a table with the columns y, x (centre), height, width in
level-0 px. The window goes to its middle at 20x; nuclei drawn at random from those in sight are marked, ``1``
and a click each. Then the Fine-tune dock trains and shows what the old and the new model find in the window.
``seconds`` is from the press to the first changed overlay. F1 is over all known nuclei in sight: ``f1`` pairs
boxes at an IoU above 0.5, ``f1_centres`` centres within half a cell diameter; ``best`` is at the threshold
that is best for the known nuclei, which a user does not know.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from user import User

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.metrics import THRESHOLDS, box_score, centre_score
from napari_zoommil.cells.model import Finds
from napari_zoommil.jobs import detect, run
from napari_zoommil.viewer.docks.annotate.dock import AnnotateDock
from napari_zoommil.viewer.docks.finetune.dock import FinetuneDock
from napari_zoommil.viewer.docks.finetune.state import AFTER, BEFORE
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.layers.view_region import view_region

SIZE = (1600, 1150)
PATIENCE = 200
NUCLEUS = CellClass("nucleus", (0, 114, 178), 8.0)


def read_cells(path: Path) -> NDArray[np.float64]:
    """(n, 4) boxes y0, x0, y1, x1."""
    with path.open(newline="") as file:
        rows = np.array(
            [[float(row[k]) for k in ("y", "x", "height", "width")] for row in csv.DictReader(file)]
        )
    return np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], 1)


def centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def judge(known: NDArray[np.float64], finds: Finds, threshold: float, radius: float) -> dict[str, float]:
    """Figures of what was found, against the known boxes."""

    def f1(at: float) -> float:
        counted = finds.chosen(finds.scores >= at)
        return box_score(known, counted.boxes, counted.scores).f1

    counted = finds.chosen(finds.scores >= threshold)
    found = centre_score(centres(known), counted.centres, radius)
    return {
        "f1": round(f1(threshold), 3),
        "best": round(max(f1(at) for at in THRESHOLDS), 3),
        "f1_centres": round(found.f1, 3),
        "precision": round(found.precision, 3),
        "recall": round(found.recall, 3),
        "found": len(counted),
    }


def session(slide: Path, cells: NDArray[np.float64], model: str, loss: str, points: int, seed: int) -> dict:
    """One user with one loss."""
    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    data, arguments, _ = open_slide_layer(slide)
    viewer.add_image(data, **arguments)
    tune, notes = show_dock(viewer, "Fine-tune"), show_dock(viewer, "Annotate")
    assert isinstance(tune, FinetuneDock) and isinstance(notes, AnnotateDock) and notes.current is not None
    own = notes.current.entry.slide
    user = User(viewer, own)
    user.wait(lambda: False, 1)
    user.look(20, *(np.array(own.shape) / 2))
    notes.current.points.add_class(NUCLEUS.name, NUCLEUS.colour, NUCLEUS.diameter_um)
    region = view_region(viewer, own)
    assert region is not None
    low, high = region.min(0), region.max(0)
    seen = cells[((centres(cells) >= low) & (centres(cells) < high)).all(1)]
    marked = np.random.default_rng(seed).choice(len(seen), points, replace=False)
    user.press(Qt.Key.Key_1)
    for place in centres(seen[marked]):
        user.click(place)
    assert len(notes.current.points) == points, (
        f"{len(notes.current.points)} of {points} clicks placed a point"
    )
    if model != tune.model.chosen:
        tune.model.choose(Path(model))
    tune.settings.loss.setCurrentIndex(max(0, tune.settings.loss.findData(loss)))  # the first: the preset's
    assert user.wait(lambda: tune.act.button.isEnabled(), 60), tune.act.button.toolTip()
    user.wait(lambda: False, 3)
    started = time.perf_counter()
    tune.act.button.click()
    assert user.wait(lambda: AFTER in tune.lesson.sides(viewer), PATIENCE), tune.act.note.text()
    seconds = time.perf_counter() - started
    assert user.wait(lambda: BEFORE in tune.lesson.sides(viewer), PATIENCE)
    trained = tune.lesson.run
    assert trained is not None
    radius = NUCLEUS.diameter_um / 2 / own.resolution()[0]
    figures = {"loss": loss, "seed": seed, "nuclei": len(seen), "seconds": round(seconds, 1)}
    for when, name in (("before", model), ("after", str(trained.folder))):
        found = run(detect(own, name, regions=[region]))
        figures[when] = judge(seen, found.finds, found.threshold, radius)
    viewer.close()
    user.wait(lambda: False, 0.5)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--model", default="yollo")
    parser.add_argument("--losses", nargs="+", default=["preset", "ce"])
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    cells, found = read_cells(args.cells), []
    for seed in args.seeds:
        for loss in args.losses:
            with tempfile.TemporaryDirectory() as folder:
                slide = Path(shutil.copy(args.slide, folder))
                found.append(session(slide, cells, args.model, loss, args.points, seed))
    print(json.dumps({"slide": args.slide.name, "model": args.model, "sessions": found}, indent=2))


if __name__ == "__main__":
    main()
