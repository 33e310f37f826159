"""Maps beside regions: the numbers of a slide, the summary of a cohort, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil import cli
from napari_zoommil.geometry import Box
from napari_zoommil.jobs import explain, run
from napari_zoommil.jobs.map_agreement import cohort_agreement, cohort_text, density_map, slide_agreement
from napari_zoommil.jobs.prediction_files import overview_of
from napari_zoommil.maps.figure import Overview
from napari_zoommil.maps.focus import Focus
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.localisation import Denoising
from napari_zoommil.slides import Slide


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


def test_a_slide_and_a_cohort(cmu: Path, make_model: Callable) -> None:
    found = run(explain(cmu, make_model((5.0, 10.0)), method="occlusion", target="tumour"))
    one = found.maps[1]
    at = np.unravel_index(int(np.nanargmax(one.values)), one.values.shape)
    y, x = (start + n * step for start, n, step in zip(one.origin, at, one.downsample, strict=True))
    with Slide.open(cmu) as slide:
        overview = overview_of(slide)
    region = Box(y, x, *one.downsample)
    count = int(np.isfinite(one.values).sum())
    how = Denoising(0.0, "quantile", (count - 1.5) / (count - 1), 0, 0, False)
    told = slide_agreement(found, [region], denoising=how, overview=overview, group="a")
    low, high = told.maps
    assert high.own.jaccard == 1 and high.own.hit and len(high.random) == 20
    assert high.own.share == pytest.approx(1 / count)
    assert "Jaccard 1.00 at 10x" in told.sentence and "its maximum lies inside" in told.sentence
    assert f"Jaccard {low.own.jaccard:.2f} at 5x" in told.sentence, "every magnification is told"
    assert told.facts[1]["denoising"]["sigma"] == 0 and told.facts[1]["target"] == "tumour"
    assert told.facts[1]["jaccard_random"] < 0.5 and told.facts[1]["pointing_hit"]

    apart = Denoising(0.0, "quantile", 0.5, 0, 0, False)
    _, tuned = slide_agreement(
        found, [region], denoising=how, controls={"density": apart}, overview=overview
    ).maps
    assert tuned.own == high.own and tuned.random == high.random and tuned.denoising == high.denoising
    assert tuned.density is not None and tuned.density.jaccard in (0, 1 / (count // 2)), "above the median"

    none = slide_agreement(found, [], overview=overview, group="b")
    assert none.facts[0]["pointing_hit"] is None and "counts as a false positive" in none.sentence
    _, finer = cohort_agreement([told, none])
    assert (finer["slides"], finer["with_regions"], finer["groups"]) == (2, 1, 1)
    assert finer["jaccard"] == (1.0, 1.0, 1.0) and finer["pointing"] == (1.0, 1.0, 1.0)
    assert finer["average_precision"] == 0.5, "both have the same maximum, and one is a false positive"
    assert low.magnification == 5
    other = cohort_agreement([told, replace(none, target="benign")])
    assert [(one["target"], one["slides"]) for one in other] == [
        (n, 1) for n in ("tumour",) * 2 + ("benign",) * 2
    ]
    assert "occlusion, benign, 10x, 0 of 1 slides" in cohort_text(other)
    row = at[0] + 1 if at[0] == 0 else at[0] - 1
    seen = one.inside(Box(one.origin[0] + row * one.downsample[0], x, *one.downsample))
    assert seen is not None
    window = Focus(window=(seen.origin[0], seen.origin[1], *seen.downsample))
    apart = slide_agreement(replace(found, every=(seen,), focus=window), [region], group="a")
    assert apart.maps[0].own.present and not apart.maps[0].has_regions and np.isnan(apart.maps[0].own.jaccard)
    assert apart.sentence.startswith("no region of the class in this window, but elsewhere")


def test_density_is_the_mean_darkness_of_each_value() -> None:
    pixels = np.full((8, 12, 3), 255, np.uint8)
    pixels[2:4, 4:8] = 60
    overview = Overview(pixels, (10.0, 10.0), None)
    one = HeatMap(np.zeros((4, 3), np.float32), (0.0, 0.0), (20.0, 40.0), None, 10.0, "grad-cam", "t")
    dark = density_map(one, overview).values
    assert dark[1, 1] == pytest.approx(-np.log(61 / 256), rel=1e-5)
    assert np.abs(np.delete(dark.ravel(), 4)).max() == 0
    fine = replace(one, values=np.zeros((32, 48), np.float32), downsample=(2.5, 2.5))
    assert (density_map(fine, overview).values > 1).sum() == 8 * 16
    fine.values[0] = np.nan
    assert np.isnan(density_map(fine, overview).values[0]).all()


def test_the_command_compares_each_slide_and_all(
    cmu: Path, make_model: Callable, make_slide: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, folder = make_model((5.0, 10.0)), tmp_path / "regions"
    folder.mkdir()
    pink = make_slide(tmp_path / "pink.tif", (200, 90, 150))
    ring = [[0, 0], [900, 0], [900, 900], [0, 900], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "lesion"}},
    }
    collection = {"type": "FeatureCollection", "features": [feature]}
    (folder / f"{cmu.stem}.geojson").write_text(json.dumps(collection))
    given = ("explain", str(cmu), str(pink), "--model", model, "--method", "evidence", "--target", "tumour")
    end = ("--annotations", str(folder), "--class", "lesion", "--out", str(tmp_path / "out"))
    assert call(*given, *end) == 1
    assert "has no regions of pink.tif: there is no pink.geojson" in capsys.readouterr().err
    (folder / "pink.geojson").write_text(json.dumps({**collection, "features": []}))
    assert call(*given[:-2], *end) == 1
    assert "name it with --target, one of benign, tumour" in capsys.readouterr().err
    assert call(*given, "--faithfulness", "--denoise.quantile", "0.8", *end) == 0
    out = capsys.readouterr().out
    assert "evidence, tumour, 5x, 1 of 2 slides: " in out and "What each patch adds to the output" in out
    cohort = json.loads((tmp_path / "out" / "agreement-evidence-tumour.json").read_text())["cohort"]
    assert [one["with_regions"] for one in cohort] == [1, 1]
    of_slide = json.loads((tmp_path / "out" / cmu.stem / "agreement-evidence-tumour.json").read_text())
    assert of_slide["class"] == "lesion" and of_slide["maps"][0]["regions"]
    assert of_slide["maps"][0]["denoising"]["quantile"] == 0.8
    curves = json.loads((tmp_path / "out" / cmu.stem / "faithfulness-evidence-tumour.json").read_text())
    assert set(curves["areas"]) == {"deletion", "deletion_random", "insertion", "insertion_random"}
    assert (tmp_path / "out" / cmu.stem / "faithfulness-evidence-tumour.png").stat().st_size > 1000


@pytest.mark.parametrize("folder", [True, False])
def test_regions_that_cannot_be_read_are_told_before_the_model_runs(
    cmu: Path, tmp_path: Path, capsys: pytest.CaptureFixture, folder: bool
) -> None:
    bad = tmp_path / f"{cmu.stem}.geojson"
    flat = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}
    for content in ("{", json.dumps({"type": "Feature", "geometry": flat, "properties": {}})):
        bad.write_text(content)
        given = ("explain", str(cmu), "--model", "nowhere", "--out", str(tmp_path / "out"))
        assert call(*given, "--annotations", str(tmp_path if folder else bad)) == 1
        assert f"error: {bad.name}" in capsys.readouterr().err
