"""A preset of nic-slides that runs in seconds, on small slides that are drawn in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_zoommil.experiments.nic_slides import experiment, trials
from napari_zoommil.experiments.nic_slides.trials import Encoders, Extent, Trial, default_code
from napari_zoommil.experiments.zooming import cohort
from napari_zoommil.experiments.zooming.cohort import COLUMNS, TABLE, MadeCohort, planned
from napari_zoommil.files import make_folder, write_json, write_table
from napari_zoommil.jobs import Job

EDGE, TUMOUR = 1024, 512
"""Of a slide, and of a tumour, px."""

CORNERS = ((32, 480), (480, 32))
"""Top and left of tumours in turn: in corners, which mirror images and transposes of them hardly meet."""

ORACLE, COLOUR = default_code("supervised"), default_code("mean-rgb")

TINY = Extent(
    MadeCohort(9, 1024, 0.03, 0.3, 70_000),
    Encoders(MadeCohort(6, 1024, 0.03, 0.3, 80_000), "cpu", 16, 80, {"supervised": 2}),
    (Trial("presence", ORACLE), Trial("share", COLOUR)),
    region=4,
    recipes=dict.fromkeys(("presence", "share"), "small"),
    options={"strides": (1, 2), "width": 8, "dropout": 0.0},
    settings={"epochs": 1, "learning_rate": 0.02, "batch": 4},
    views=1,
    min_tissue=0.1,
    macro=0.03,
    folds=3,
    tuned=2,
    explained=3,
)


def draw(slides: MadeCohort, folder: Path) -> Job[Path]:
    """Slides at 40x of pink tissue; tumours are darker squares."""
    make_folder(folder)
    rows = []
    for number, one in enumerate(planned(slides)):
        rows.append(one.row)
        if (folder / one.name).exists():
            continue
        rng = np.random.default_rng(number)
        pixels = np.full((EDGE, EDGE, 3), 245, np.uint8)
        pixels[32:-32, 32:-32] = np.array([220, 150, 190]) + rng.integers(-20, 20, (EDGE - 64,) * 2 + (1,))
        outline = []
        if one.drawing.tumour:
            top, left = CORNERS[number % len(CORNERS)]
            low, right = top + TUMOUR, left + TUMOUR
            pixels[top:low, left:right] -= 90
            ring = [[left, top], [right, top], [right, low], [left, low], [left, top]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            named = {"classification": {"name": "tumour"}}
            outline = [{"type": "Feature", "properties": named, "geometry": geometry}]
        known = {"photometric": "rgb", "tile": (256, 256), "resolutionunit": 3}
        with tifffile.TiffWriter(folder / one.name) as file:
            for step in (1, 4):  # opening reads all of the last level
                shown = np.ascontiguousarray(pixels[::step, ::step])
                known["subfiletype"] = int(step > 1)
                file.write(shown, resolution=(40_000 / step,) * 2, **known)
        content = {"type": "FeatureCollection", "features": outline}
        write_json((folder / one.name).with_suffix(".geojson"), content)
    write_table(folder / TABLE, COLUMNS, rows)
    return folder / TABLE
    yield


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Extent:
    monkeypatch.setitem(trials.EXTENTS, "cpu", TINY)
    monkeypatch.setattr(experiment, "made", draw)
    monkeypatch.setattr(cohort, "SPLITS", ("train", "val", "test", "train"))
    monkeypatch.setattr("napari_zoommil.experiments.run_pieces.processes", lambda _: 1)
    return TINY
