"""Whether a model knows what it reads: said of real and of synthetic slides, kept by what is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.cells.compared import PATCH_PX, image_statistics
from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import file
from napari_zoommil.familiarity.statistics import MARGIN
from napari_zoommil.jobs import detect, explain, predict, run, train
from napari_zoommil.jobs.patch_table import patch_tables
from napari_zoommil.jobs.prediction_files import summary
from napari_zoommil.model_folder import (
    CONFIG,
    familiarity_of,
    find_model,
    keep_familiarity,
)
from napari_zoommil.slides import Slide
from napari_zoommil.synthetic import SyntheticSlide


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "slide.tif"
    SyntheticSlide(123, 4096, True, 0.08).write(path)
    return path


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy of the shipped model that may be changed."""
    return Path(shutil.copytree(find_model("demo"), tmp_path / "demo"))


def test_the_demo_knows_synthetic_slides_and_no_real_one(data: Path, synthetic: Path) -> None:
    for name in ("CMU-1-Small-Region.svs", "CMU-1-Small-Region.ome.zarr", "CMU-1-Small-Region_dicom"):
        prediction = run(predict(data / "slides" / name, "demo"))
        assert prediction.familiarity.is_unlike and prediction.familiarity.share > 0.8
        told = summary(prediction)["familiarity"]
        assert told["do_not_rely_on_this"] and told["sentence"].endswith("do not rely on this")
    for mpp, slide in ((0.5, "cells.ome.tif"),):
        assert run(predict(data / "slides" / slide, "demo", mpp=mpp)).familiarity.is_unlike
    known = run(predict(synthetic, "demo")).familiarity
    assert known.status == "known" and not known.is_unlike and known.share < 0.15


def test_a_folder_without_statistics_says_unknown(cmu: Path, demo: Path) -> None:
    (demo / file.NAME).unlink()
    prediction = run(predict(cmu, str(demo)))
    assert prediction.familiarity.status == "unknown" and not prediction.familiarity.is_unlike
    assert "keeps no statistics" in summary(prediction)["familiarity"]["sentence"]
    with pytest.raises(ModelError, match="no map of familiarity"):
        run(explain(cmu, str(demo), method="familiarity"))


def test_statistics_that_were_changed_are_refused(cmu: Path, demo: Path) -> None:
    content = (demo / file.NAME).read_bytes()
    (demo / file.NAME).write_bytes(content[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelError, match="not the one that was written with the model"):
        run(predict(cmu, str(demo)))


def test_statistics_of_other_patches_are_refused(cmu: Path, demo: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [(str(number), rng.integers(0, 200, (400, 400, 3), np.uint8)) for number in range(10)]
    other = image_statistics(noise, 0.5)
    assert other is not None
    keep_familiarity(demo, other)
    assert json.loads((demo / CONFIG).read_text())["architecture"] == "zoommil", "the rest is as it was"
    with pytest.raises(ModelError, match="of other patches than the model reads"):
        run(predict(cmu, str(demo)))


def test_a_map_tells_how_strange_each_patch_is(cmu: Path, synthetic: Path) -> None:
    strange, known = (run(explain(slide, "demo", method="familiarity")) for slide in (cmu, synthetic))
    for found in (strange, known):
        assert found.target is None
        assert [(one.kind, one.target, one.magnification) for one in found.maps] == [
            ("familiarity", None, magnification) for magnification in (5, 10, 20)
        ]
        for one, read in zip(found.scores, found.prediction.cost.patches, strict=True):
            assert one.values.shape == (1, len(one.rows)) == (1, read)
    shares = [
        np.nanmean(np.concatenate([one.values[0] for one in found.scores]) > MARGIN)
        for found in (strange, known)
    ]
    assert shares[0] > 0.8 and shares[1] < 0.15
    for table in patch_tables(strange.prediction, [strange]):
        (title,) = (title for title in table.scores if title.startswith("familiarity"))
        assert np.isfinite(table.scores[title]).any()
    with pytest.raises(ModelError, match="does not tell classes apart"):
        run(explain(cmu, "demo", method="familiarity", target="tumour"))


def test_a_cell_model_is_asked_about_what_it_searches(
    cmu: Path, data: Path, make_cell_model: Callable[..., str]
) -> None:
    name = make_cell_model()
    with Slide.open(cmu) as slide:
        pixels = slide.read(1400, 100, 1400, 1400, 0.5)
    square = [np.array([(1500.0, 100.0), (1500.0, 1500.0), (2600.0, 1500.0), (2600.0, 100.0)])]
    assert run(detect(cmu, name, regions=square)).familiarity.status == "unknown"
    known = image_statistics([(str(n), pixels[n * 140 : n * 140 + 280]) for n in range(9)], 0.5)
    assert known is not None
    keep_familiarity(Path(name), known)
    own = run(detect(cmu, name, regions=square)).familiarity
    assert own.status == "known" and not own.is_unlike and own.patches > 20
    other = run(detect(data / "slides" / "cells.ome.tif", name, mpp=0.5, regions=[square[0] - (1500, 100)]))
    assert other.familiarity.is_unlike
    keep = familiarity_of(name, "cells")
    assert keep is not None and keep.patch_size == PATCH_PX


def test_a_training_keeps_what_it_was_of(
    tmp_path: Path, make_slide: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_zoommil.familiarity.statistics.FEWEST", 20)
    lines = ["slide,label,split,group"]
    for label, colour in {"blue": (120, 90, 200), "pink": (215, 110, 160)}.items():
        for number, split in enumerate(("train", "train", "train", "val", "test")):
            make_slide(tmp_path / f"{label}{number}.tif", colour, 512, number)
            lines.append(f"{label}{number}.tif,{label},{split},{label}{number}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    make_slide(tmp_path / "red.tif", (170, 60, 90), 512, 9)
    training = run(
        train(
            tmp_path / "cohort.csv",
            store=tmp_path / "features",
            out=tmp_path / "model",
            epochs=1,
            encoder="mean-rgb",
            magnifications=(5.0, 10.0),
            patch_size=32,
            options={"k": 8},
        )
    )
    known = familiarity_of(training.model, "mil")
    assert known is not None and len(known.levels) == 2 and len(known.shares) == 10
    assert all(len(level.measures) == 2 for level in known.levels), "pixels and features"
    own, other = (
        run(predict(tmp_path / name, str(training.model))).familiarity for name in ("blue4.tif", "red.tif")
    )
    assert not own.is_unlike and other.is_unlike
