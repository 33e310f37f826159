"""What ``predict`` writes, and that it is read back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_zoommil.errors import JobError
from napari_zoommil.jobs import predict, run
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.patch_table import patch_tables
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import (
    WHOLE,
    overview_of,
    patches_geojson,
    read_prediction,
    summary,
    write_explanation,
    write_prediction,
)
from napari_zoommil.jobs.result_file import result_bytes
from napari_zoommil.maps.export import file_name
from napari_zoommil.slides import Slide


@pytest.fixture
def slide(tmp_path: Path, make_slide: Callable[..., Path]) -> Path:
    return make_slide(tmp_path / "slide.tif", (120, 60, 160))


@pytest.fixture
def prediction(slide: Path, make_model: Callable[..., str]) -> Prediction:
    return run(predict(slide, make_model((5.0, 10.0), patch_size=32), device="cpu"))


@pytest.fixture
def written(slide: Path, prediction: Prediction, tmp_path: Path) -> Path:
    with Slide.open(slide) as opened:
        write_prediction(opened, prediction, tmp_path / "out")
    return tmp_path / "out"


def assert_same(one: Any, other: Any) -> None:
    """Equal in every field, arrays bit for bit."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for mine, its in zip(one, other, strict=True):
            assert_same(mine, its)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_it_is_read_back_as_it_was(written: Path, prediction: Prediction) -> None:
    back = read_prediction(written)
    assert_same(back, prediction)
    assert back.predicted == prediction.predicted
    assert summary(back) == json.loads((written / "prediction.json").read_text(encoding="utf-8"))
    assert patches_geojson(patch_tables(back)) == json.loads(
        (written / "patches.geojson").read_text(encoding="utf-8")
    )
    for shown in back.maps_of("attention"):
        np.testing.assert_array_equal(
            tifffile.imread(written / f"{file_name(shown.title)}.ome.tiff"), shown.values
        )


def test_the_real_slide_is_read_back(cmu: Path, tmp_path: Path) -> None:
    found = run(predict(cmu, "demo"))
    with Slide.open(cmu) as slide:
        files = write_prediction(slide, found, tmp_path)
    assert_same(read_prediction(tmp_path), found)
    assert sorted(files) == sorted(path for path in tmp_path.iterdir() if not path.name.startswith("."))


def test_the_summary_counts_what_was_done(prediction: Prediction) -> None:
    found = summary(prediction)
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert found["predicted"] == max(found["probabilities"], key=found["probabilities"].get)
    low, high = found["magnifications"]
    assert (low["magnification"], high["magnification"]) == (5, 10)
    assert low["encoded"] == low["patches"] == len(prediction.grid.levels[0])
    assert 0 < low["zoomed_into"] <= 4 and high["encoded"] <= 4 * low["zoomed_into"]


def test_patches_lie_where_they_were_read(prediction: Prediction) -> None:
    features = patches_geojson(patch_tables(prediction))["features"]
    steps = [(step, row) for step in prediction.steps for row in range(len(step.rows))]
    assert len(features) == len(steps)
    for feature, (step, row) in zip(features, steps, strict=True):
        level = prediction.grid.levels[step.level]
        ring = np.array(feature["geometry"]["coordinates"][0])
        y, x = level.origins[step.rows[row]]
        assert ring.min(0).tolist() == [x, y]
        assert (np.ptp(ring, 0) == level.stride[::-1]).all() and (ring[0] == ring[-1]).all()
        measured = feature["properties"]["measurements"]
        assert measured["attention"] == step.attention[row]


def test_pictures_are_figures_of_the_slide(written: Path, slide: Path) -> None:
    with Slide.open(slide) as opened:
        overview = overview_of(opened)
        assert overview.pixels.shape == (*opened.shape, 3) and overview.downsample == (1, 1)
        assert overview.mpp == opened.mpp
    sizes = [Image.open(written / name).size for name in ("attention-5x.png", "attention.png")]
    assert min(width for width, _ in sizes) > 900 and (written / "attention.svg").is_file()


def test_each_head_has_pictures_of_its_own(slide: Path, prediction: Prediction, tmp_path: Path) -> None:
    heads = tuple(one for one in prediction.maps if one.kind in ("attention", "zoom"))
    with Slide.open(slide) as opened:
        paths = write_explanation(opened, Explanation("attention", None, prediction, (), heads), tmp_path)
    names = [path.name for path in paths]
    assert len(names) == len(set(names)) and {"attention.png", "zoom-attention.png"} <= set(names)
    assert {"attention-10x.png", "zoom-attention-5x.png"} <= set(names)


def test_a_folder_without_a_prediction(tmp_path: Path, written: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(JobError, match=rf"holds no prediction: there is no {WHOLE}"):
            read_prediction(folder)
    (written / WHOLE).write_bytes((written / WHOLE).read_bytes()[:-100])
    with pytest.raises(JobError, match="is damaged"):
        read_prediction(written)


def broken(prediction: Prediction) -> dict[str, Prediction]:
    """Predictions that no run would return."""
    step, level = prediction.steps[0], prediction.grid.levels[0]

    def with_step(**changes: Any) -> Prediction:
        return replace(prediction, steps=(replace(step, **changes), *prediction.steps[1:]))

    def with_level(**changes: Any) -> Prediction:
        levels = (replace(level, **changes), *prediction.grid.levels[1:])
        return replace(prediction, grid=replace(prediction.grid, levels=levels))

    return {
        "a magnification that it has no patches of": with_step(level=7),
        "scores of patches that are not there": with_step(rows=step.rows + 1000),
        "patches without a score": with_step(rows=step.rows[:-1]),
        "weighted by scores that are not there": with_step(pooling=(2,)),
        "patches at 5x are incomplete": with_level(tissue=level.tissue[1:]),
        "patches at 5x are": with_level(origins=level.origins[:, 0]),
        "values are not those of its task": replace(prediction, values=prediction.values[:1]),
    }


def test_what_does_not_fit_together_is_told(prediction: Prediction, tmp_path: Path) -> None:
    for why, wrong in broken(prediction).items():
        (tmp_path / WHOLE).write_bytes(result_bytes(wrong))
        with pytest.raises(JobError, match=f"is damaged: .*{why}"):
            read_prediction(tmp_path)
