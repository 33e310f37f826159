from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_zoommil.jobs import predict, run
from napari_zoommil.jobs.patch_table import patch_tables
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import patches_geojson, summary, write_prediction
from napari_zoommil.slides import Slide


@pytest.fixture
def prediction(cmu: Path, make_model: Callable[..., str]) -> Prediction:
    return run(predict(cmu, make_model((5.0, 10.0))))


def test_both_attentions_are_written(prediction: Prediction, cmu: Path, tmp_path: Path) -> None:
    with Slide.open(cmu) as slide:
        names = {path.name for path in write_prediction(slide, prediction, tmp_path)}
    explained = {
        f"{method}-{prediction.predicted}-{name}"
        for method in ("evidence", "leave-one-out")
        for name in ("5x", "10x")
    }
    maps = {"attention-5x", "attention-10x", "zoom-attention-5x"} | explained
    of_all = {name.rpartition("-")[0] for name in maps}
    figures = {f"{name}{end}" for name in of_all for end in (".png", ".svg")}
    assert names == figures | {f"{name}{end}" for name in maps for end in (".png", ".ome.tiff")} | {
        "prediction.json", "prediction.npz", "patches.csv", "patches.geojson",
    }  # fmt: skip
    (zoom,) = prediction.maps_of("zoom")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "zoom-attention-5x.ome.tiff"), zoom.values)
    kept = zoom.values[np.isfinite(zoom.values)]
    step = prediction.steps[0]
    np.testing.assert_allclose(np.sort(kept), np.sort(step.scores[:, 1]))
    best = np.sort(step.rows[np.argsort(step.scores[:, 1])[-len(step.zoomed) :]])
    np.testing.assert_array_equal(best, step.zoomed)


def test_patches_count_from_where_the_slide_was_scanned(prediction: Prediction) -> None:
    tables = patch_tables(prediction)
    whole, part = (patches_geojson(tables, origin)["features"] for origin in ((0.0, 0.0), (4.0, 3.0)))
    for one, two in zip(whole, part, strict=True):
        rings = [np.array(each["geometry"]["coordinates"][0]) for each in (one, two)]
        np.testing.assert_allclose(rings[0] - rings[1], np.broadcast_to((3, 4), rings[0].shape))


HEADS = ["attention", "zoom attention"]


def test_a_patch_has_a_measurement_for_each_head(prediction: Prediction) -> None:
    features = patches_geojson(patch_tables(prediction))["features"]
    coarse, fine = (prediction.steps[0], features[0]), (prediction.steps[1], features[-1])
    for (step, feature), heads in zip((coarse, fine), (HEADS, HEADS[:1]), strict=True):
        found = feature["properties"]["measurements"]
        explained = [
            f"{m} {name} (logit)" for m in ("evidence", "leave-one-out") for name in ("benign", "tumour")
        ]
        times = [title for head in heads for title in (head, f"{head} (times the average)")]
        assert list(found) == [*times, *explained]
        assert found["evidence tumour (logit)"] == step.evidence[1, 0 if feature is features[0] else -1]
        place = 0 if feature is features[0] else -1
        assert [found[head] for head in heads] == step.scores[place].tolist()
    json.dumps(features)


def test_what_is_not_explained_is_left_out(prediction: Prediction) -> None:
    steps = tuple(replace(step, evidence=None) for step in prediction.steps)
    found = patches_geojson(patch_tables(replace(prediction, steps=steps)))["features"][0]
    titles = list(found["properties"]["measurements"])
    assert [title for title in titles if "(" not in title] == HEADS
    assert all(title.endswith("(times the average)") for title in titles if "(" in title)


def test_a_summary_has_a_line_for_each_magnification(prediction: Prediction) -> None:
    said = summary(prediction)
    assert said["predicted"] == prediction.predicted
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert [one["zoomed_into"] for one in said["magnifications"]] == [4, 0]
    assert [one["encoded"] for one in said["magnifications"]] == [len(s.rows) for s in prediction.steps]
