"""``finetune`` and ``detect`` as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cli import main
from napari_zoommil.commands.report import print_json


def call(*arguments: object) -> int:
    """Run a command in this process; returns its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture
def points(discs: tuple[Path, np.ndarray], tmp_path: Path) -> Path:
    found = Points(classes=[CellClass("disc", (0, 114, 178), 10.0)])
    found.add(discs[1][::4], 1)
    found.write(tmp_path / "points.geojson")
    return tmp_path / "points.geojson"


def test_a_model_is_taught_and_used(
    discs: tuple[Path, np.ndarray], points: Path, make_cell_model: Callable[..., str], tmp_path: Path, capsys
) -> None:
    common = ("--annotations", points, "--model", make_cell_model(), "--epochs", 1, "--device", "cpu")
    assert call("finetune", discs[0], *common, "--out", tmp_path / "new") == 0
    said = capsys.readouterr()
    assert "12 disc in" in said.out and "held-out windows" in said.out and "Warning" not in said.err
    assert call("finetune", discs[0], *common, "--out", tmp_path / "new", "--json") == 1
    assert "holds a model already; choose another folder, or give --overwrite" in capsys.readouterr().err
    assert call("finetune", discs[0], *common, "--out", tmp_path / "new", "--overwrite", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["points"] == {"disc": 12} and found["model"] == str(tmp_path / "new")

    out = tmp_path / "cells.geojson"
    assert call("detect", discs[0], "--model", tmp_path / "new", "--out", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    features = json.loads(out.read_text())["features"]
    assert found["cells"]["disc"] == len(features) and found["area_mm2"] > 0
    scores = [one["properties"]["measurements"]["score"] for one in features]
    assert all(score >= 0.5 for score in scores), "what is below the threshold does not count"
    out.with_suffix(".csv").write_text("slide,label\n")
    again = ("detect", discs[0], "--model", tmp_path / "new", "--out", out)
    assert call(*again) == 1 and "cells.csv would be replaced" in capsys.readouterr().err
    assert out.with_suffix(".csv").read_text() == "slide,label\n"
    assert call(*again, "--overwrite") == 0


def test_a_mil_model_is_taught_from_a_store(cmu: Path, tmp_path: Path, cache: Path, capsys) -> None:
    points = Points(classes=[CellClass("tumour", (213, 94, 0))])
    points.add([(1500.0, 1100.0)], 1)
    points.write(tmp_path / "points.geojson")
    store = ("--store", tmp_path / "features", "--device", "cpu")
    asked = ("--annotations", tmp_path / "points.geojson", "--model", "demo", "--epochs", 1, *store)
    assert call("finetune", cmu, *asked, "--out", tmp_path / "new", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "mil" and found["patches"] > 0
    assert (tmp_path / "features").is_dir() and not cache.exists()
    assert (
        call("predict", cmu, "--model", tmp_path / "new", *store, "--out", tmp_path / "seen", "--json") == 0
    )
    levels = json.loads(capsys.readouterr().out)["magnifications"]
    assert not any(one["encoded"] for one in levels) and any(one["taken_from_cache"] for one in levels)


def test_what_lies_off_the_slide_is_told(
    discs: tuple[Path, np.ndarray], points: Path, make_cell_model: Callable[..., str], tmp_path: Path, capsys
) -> None:
    marked = Points.read(points)
    marked.add([(-9.0, 9.0), (9.0, 801.0)], marked.add_class("elsewhere"))
    marked.write(points)
    asked = ("--annotations", points, "--model", make_cell_model(), "--epochs", 1, "--out", tmp_path / "new")
    assert call("finetune", discs[0], *asked) == 0
    said = capsys.readouterr().out
    assert "2 points are outside the slide and were left out" in said and "elsewhere" not in said
    assert call("finetune", discs[0], *asked, "--overwrite", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["off_slide"] == 2 and [one["name"] for one in found["classes"]] == ["disc"]


def test_json_knows_no_nan(capsys) -> None:
    print_json([{"density": [float("nan"), 1.5, float("inf")], "cells": {"a": (2, None)}}])
    assert json.loads(capsys.readouterr().out) == {"density": [None, 1.5, None], "cells": {"a": [2, None]}}


def test_regions_are_searched_and_a_score_is_kept_to(
    discs: tuple[Path, np.ndarray], make_cell_model: Callable[..., str], tmp_path: Path, capsys
) -> None:
    ring = [[0, 0], [300, 0], [300, 200], [0, 200], [0, 0]]
    region = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    (tmp_path / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [region]}))
    out = tmp_path / "cells.geojson"
    asked = ("--model", make_cell_model(), "--out", out, "--json")
    within = ("--regions", tmp_path / "regions.geojson")

    def scores(*more: object) -> list[float]:
        assert call("detect", discs[0], *asked, *within, *more) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["area_mm2"] == pytest.approx(300 * 200 * 0.5**2 / 1e6)
        features = json.loads(out.read_text())["features"]
        assert sum(found["cells"].values()) == len(features)
        return sorted(one["properties"]["measurements"]["score"] for one in features)

    every = scores()
    middle = every[len(every) // 2]
    certain = scores("--threshold", middle)
    assert 0 < len(certain) < len(every) and certain[0] >= middle
    assert call("detect", discs[0], discs[0], *asked, *within) == 1
    assert "regions can be given for one slide only" in capsys.readouterr().err


def test_several_slides_get_a_file_each(
    discs: tuple[Path, np.ndarray], make_cell_model: Callable[..., str], tmp_path: Path, capsys
) -> None:
    other = tmp_path / "other.tif"
    other.write_bytes(discs[0].read_bytes())
    assert call("detect", discs[0], other, "--model", make_cell_model(), "--out", tmp_path / "out") == 0
    endings = (".counts.csv", ".csv", ".geojson")
    names = [f"{stem}{ending}" for stem in ("discs", "other") for ending in endings]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    assert capsys.readouterr().out.count("/mm² of tissue: ") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--annotations", "nowhere.geojson"), "nowhere.geojson cannot be read"),
        (("--annotations", "slide"), "is not"),
        (("--label", "tumour"), "a label of the slide is for MIL models"),
        (("--model", "nothing"), "there is no model 'nothing'"),
    ],
)
def test_failures_are_one_clear_line(
    discs: tuple[Path, np.ndarray],
    points: Path,
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    capsys,
    arguments: tuple[str, str],
    said: str,
) -> None:
    options = {"--annotations": str(points), "--model": make_cell_model()} | dict([arguments])
    options = {name: str(discs[0]) if value == "slide" else value for name, value in options.items()}
    flat = [part for pair in options.items() for part in pair]
    assert call("finetune", discs[0], *flat, "--out", tmp_path / "new") == 1
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1
