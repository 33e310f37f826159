"""All that is known of the patches that a model looked at, as a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.jobs import explain, run
from napari_zoommil.jobs.patch_table import patch_tables, patches_csv
from napari_zoommil.slides import Slide


def test_a_csv_says_where_the_patches_are_and_what_is_known_of_them(cmu: Path) -> None:
    cam = run(explain(cmu, "demo", method="grad-cam"))
    prediction = cam.prediction
    with Slide.open(cmu) as slide:
        mpp = slide.mpp
    tables = patch_tables(prediction, [cam])
    lines = list(csv.DictReader(io.StringIO(patches_csv(tables, mpp).decode())))
    looked_at = {step.level: step for step in prediction.steps}
    assert len(lines) >= sum(len(step.rows) for step in looked_at.values())
    assert [line["magnification"] for line in lines] == sorted(
        (line["magnification"] for line in lines), key=lambda name: float(name[:-1])
    )
    first, level, step = lines[0], prediction.grid.levels[0], looked_at[0]
    row = int(step.rows.min())
    y, x = level.origins[row]
    assert (float(first["x_px"]), float(first["y_px"])) == pytest.approx((x, y), rel=1e-5)
    assert float(first["centre_x_um"]) == pytest.approx((x + level.size[1] / 2) * mpp[1], abs=0.01)
    assert float(first["centre_y_um"]) == pytest.approx((y + level.size[0] / 2) * mpp[0], abs=0.01)
    at = int(np.flatnonzero(step.rows == row)[0])
    assert float(first["attention"]) == pytest.approx(step.attention[at], rel=1e-5)
    shares = np.exp(step.attention - step.attention.max())
    times = shares[at] / shares.mean()
    assert float(first["attention (times the average)"]) == pytest.approx(times, rel=1e-4)
    assert int(first["zoomed_into"]) == (row in step.zoomed)
    scores = next(one for one in cam.scores if one.level == 0)
    expected = scores.values[prediction.task.names.index("tumour"), list(scores.rows).index(row)]
    assert float(first["Grad-CAM tumour (logit)"]) == pytest.approx(expected, rel=1e-5)


def test_of_a_slide_without_a_pixel_size_places_in_micrometres_are_empty(cmu: Path) -> None:
    prediction = run(explain(cmu, "demo", method="attention")).prediction
    (line, *_) = csv.DictReader(io.StringIO(patches_csv(patch_tables(prediction), None).decode()))
    assert line["centre_x_um"] == line["centre_y_um"] == "" and float(line["width_px"]) > 0
