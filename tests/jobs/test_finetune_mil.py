from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.bags import CachedBag
from napari_zoommil.encoders import Encoder
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.jobs import finetune, predict, run
from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.finetuning import FineTuning
from napari_zoommil.maps.agreement import attention_agreement
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.zoommil import ZoomMIL
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import CURVES, RUN

REGION = (256, 512, 256, 512)
"""Rows and columns of what is taught, px: 4 × 4 patches of the lower magnification."""


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """1,024 × 1,024 px at 1 µm/px: pink tissue with a purple square, on glass."""
    rng = np.random.default_rng(0)
    image = np.full((1024, 1024, 3), 245, np.int16)
    image[64:-64, 64:-64] = (220, 130, 170)
    image[REGION[0] : REGION[1], REGION[2] : REGION[3]] = (120, 60, 160)
    image += rng.integers(-9, 10, image.shape, np.int16)
    path = tmp_path / "slide.tif"
    pixels = image.clip(0, 255).astype(np.uint8)
    tifffile.imwrite(path, pixels, tile=(128, 128), resolution=(1e4, 1e4), resolutionunit="CENTIMETER")
    return path


@pytest.fixture
def points() -> Points:
    """Points on a part of the square."""
    found = Points(classes=[CellClass("Tumour", (213, 94, 0)), CellClass("unused", (1, 2, 3))])
    rng = np.random.default_rng(0)
    found.add(rng.uniform((260, 260), (508, 508), (9, 2)), 1)
    return found


@pytest.fixture
def model(make_model: Callable[..., str]) -> str:
    torch.manual_seed(1)
    network = ZoomMIL(3, 2, (5, 10), ZoomMILOptions(4, hidden=32, attention=16))
    name = make_model((5.0, 10.0), patch_size=32, config=network.config())
    save_file(network.state_dict(), Path(name) / "model.safetensors")
    return name


def teach(
    slide: Path, points: Points | Path, model: str, out: Path, seen: Any = None, **how: Any
) -> FineTuning:
    settings = {"epochs": 100, "learning_rate": 3e-2, "device": "cpu", "threads": 1} | how
    return run(finetune(slide, points, model, out=out, **settings), seen)


def inside(slide: Path, model: Path | str) -> list[float]:
    """Share of the attention in the square, by magnification."""
    found = run(predict(slide, str(model), device="cpu"))
    y0, y1, x0, x1 = REGION
    square = [np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)], float)]
    return [attention_agreement(found.grid, s.level, s.rows, s.attention, square).inside for s in found.steps]


def test_attention_moves_to_what_is_marked(slide: Path, points: Points, model: str, tmp_path: Path) -> None:
    seen: list[Any] = []
    result = teach(slide, points, model, tmp_path / "new", seen.append)
    assert (result.kind, result.points, result.windows) == ("mil", {"Tumour": 9}, 0)
    assert [one.name for one in result.classes] == ["Tumour"] and result.patches > 500
    before, after = inside(slide, model), inside(slide, result.model)
    assert before[0] < 0.3 and all(share > 0.8 for share in after)
    metrics = result.metrics
    assert metrics["attention_on_points_5x"] > metrics["before_attention_on_points_5x"]
    assert metrics["probability_tumour"] + metrics["probability_benign"] == pytest.approx(1, abs=1e-3)
    maps = [one.partial for one in seen if isinstance(one.partial, AttentionMaps)]
    assert [one.when for one in maps] == ["before", "after"]
    found = run(predict(slide, str(result.model), device="cpu"))
    for own, other in zip(maps[1].maps, found.maps_of("attention"), strict=True):
        np.testing.assert_allclose(own.values, other.values, atol=1e-5)
    assert "epoch 100 of 100" in [one for one in seen if "epoch" in one.note][-1].note


def test_a_run_is_a_folder(slide: Path, points: Points, model: str, tmp_path: Path) -> None:
    points.write(tmp_path / "points.geojson")
    result = teach(slide, tmp_path / "points.geojson", model, tmp_path / "new", epochs=3)
    about = json.loads((result.model / RUN).read_text())
    assert about["label"] == "tumour" and about["points"]["Tumour"] == 9
    assert about["settings"]["loss"] == "ece" and about["metrics"] == result.metrics
    assert about["patches"] == result.patches
    assert "slide.tif" not in (result.model / RUN).read_text(), "a slide's name can tell who the patient is"
    lines = list(csv.DictReader((result.model / CURVES).open()))
    assert [line["epoch"] for line in lines] == ["0", "1", "2"]
    assert all(float(line[name]) > 0 for line in lines for name in ("train_loss", "bag_loss", "point_loss"))
    assert "Tumour" in (result.model / "README.md").read_text()
    seen: list[Any] = []
    known = teach(
        slide, tmp_path / "points.geojson", model, tmp_path / "new", seen.append, epochs=3, resume=True
    )
    assert known == replace(result, seconds=0.0, trained_before=True) and len(seen) == 2
    with pytest.raises(ModelError, match="other data, settings or model"):
        teach(slide, tmp_path / "points.geojson", model, tmp_path / "new", epochs=4, resume=True)
    with pytest.raises(ModelError, match="other data, settings or model"):
        teach(slide, tmp_path / "points.geojson", model, tmp_path / "new", epochs=3, patches=99, resume=True)
    again = teach(slide, points, model, tmp_path / "again", epochs=3)
    one, other = (load_file(folder / "model.safetensors") for folder in (result.model, again.model))
    assert all(np.array_equal(one[name], other[name]) for name in one), "the same seed, the same model"


def test_nothing_is_encoded_twice(
    slide: Path, points: Points, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    encoded, real = [], Encoder.__call__

    def counted(encoder: Encoder, patches: np.ndarray) -> Any:
        encoded.append(len(patches))
        return real(encoder, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    teach(slide, points, model, tmp_path / "one", epochs=1)
    assert sum(encoded) > 500 and len(list(cache.iterdir())) == 1
    assert "slide" not in "".join(map(str, cache.rglob("*"))).replace(str(cache), "")
    encoded.clear()
    teach(slide, points, model, tmp_path / "two", epochs=1)
    assert not encoded


def test_features_are_kept_in_the_store_that_is_named(
    slide: Path, points: Points, model: str, tmp_path: Path, cache: Path
) -> None:
    store = tmp_path / "features"
    result = teach(slide, points, model, tmp_path / "new", epochs=1, store=store)
    assert [folder.name for folder in store.iterdir()] == [Slide.open(slide).fingerprint]
    assert not cache.exists()
    taken = run(predict(slide, model, store=store, device="cpu")).cost
    assert sum(taken.taken) > 250 and not sum(taken.encoded)
    other = teach(slide, points, model, tmp_path / "cached", epochs=1)
    assert cache.exists()
    first = "before_attention_on_points_5x"  # a store holds half precision, so that the zoom may differ
    assert result.metrics[first] == pytest.approx(other.metrics[first], abs=1e-3)


def test_what_a_prediction_encoded_is_not_encoded_again(
    slide: Path, points: Points, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, real = [], Encoder.__call__

    def counted(encoder: Encoder, patches: np.ndarray) -> Any:
        encoded.append(len(patches))
        return real(encoder, patches)

    monkeypatch.setattr(Encoder, "__call__", counted)
    seen = sum(run(predict(slide, model, device="cpu")).cost.encoded)
    result = teach(slide, points, model, tmp_path / "new", epochs=1)
    assert seen and sum(encoded) == result.patches, "the whole slide is learnt from, each patch encoded once"
    again = run(predict(slide, str(result.model), device="cpu"))
    assert not sum(again.cost.encoded)


def test_few_patches_are_read_where_few_are_allowed(
    slide: Path, points: Points, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = [], CachedBag.encode

    def counted(bag: CachedBag, level: int, rows: np.ndarray) -> Any:
        for chunk in real(bag, level, rows):
            read.extend((level, row) for row in chunk)
            yield chunk

    monkeypatch.setattr(CachedBag, "encode", counted)
    monkeypatch.setattr("napari_zoommil.jobs.finetune_mil.WHOLE", 1)
    result = teach(slide, points, model, tmp_path / "new", epochs=1, patches=150)
    assert result.patches <= 150 and len(set(read)) <= 2 * 150


def test_points_of_no_class_of_the_model_leave_its_prediction(
    slide: Path, points: Points, model: str, tmp_path: Path
) -> None:
    points.rename_class(1, "follicle")
    result = teach(slide, points, model, tmp_path / "new")
    assert json.loads((result.model / RUN).read_text())["label"] is None
    was, now = (result.metrics[f"{when}probability_tumour"] for when in ("before_", ""))
    assert abs(now - was) < 0.1
    assert inside(slide, result.model)[0] > 0.8
    told = teach(slide, points, model, tmp_path / "told", label="Benign", epochs=1)
    assert json.loads((told.model / RUN).read_text())["label"] == "benign"


@pytest.mark.parametrize("loss", ["ce", "ece-margin", "weighted-ce", "focal"])
def test_every_loss_serves(slide: Path, points: Points, model: str, tmp_path: Path, loss: Any) -> None:
    assert teach(slide, points, model, tmp_path / "new", loss=loss, epochs=2).metrics


def test_points_off_the_slide_tell_nothing(slide: Path, points: Points, model: str, tmp_path: Path) -> None:
    points.add_class("benign")
    points.add([[-5.0, 3.0], [1024.0, 3.0]], 3)
    result = teach(slide, points, model, tmp_path / "new", epochs=1)
    assert result.off_slide == 2 and result.points == {"Tumour": 9}
    assert json.loads((result.model / RUN).read_text())["label"] == "tumour", (
        "which benign ones would contest"
    )


def test_what_cannot_teach_is_refused_before_anything_is_written(
    slide: Path, points: Points, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new"
    with pytest.raises(AnnotationError, match=r"no points on slide\.tif to train on; add a few first"):
        teach(slide, Points(), model, out)
    with pytest.raises(ModelError, match="has no class stroma; choose one of benign, tumour"):
        teach(slide, points, model, out, label="stroma")
    aside = Points(classes=[CellClass("tumour", (1, 2, 3))])
    aside.add([[5.0, 5.0]], 1)
    with pytest.raises(AnnotationError, match=r"no point lies on the tissue of slide\.tif"):
        teach(slide, aside, model, out)
    monkeypatch.delattr(ZoomMIL, "attention_logits")
    with pytest.raises(ModelError, match="no attention over patches"):
        teach(slide, points, model, out)
    assert not out.exists()


def test_it_is_cancelled_at_any_moment(
    make_slide: Callable[..., Path],
    points: Points,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At every step of a short run, each time with nothing encoded before."""
    slide = make_slide(tmp_path / "small.tif", (120, 60, 160))

    def begun(out: str, kept: str) -> Any:
        monkeypatch.setattr("napari_zoommil.bags.cache.cache_folder", lambda: tmp_path / kept)
        return finetune(slide, points, model, out=tmp_path / out, epochs=2, device="cpu", threads=1)

    def weights(out: str) -> list[bytes]:
        return [one.tobytes() for _, one in sorted(load_file(tmp_path / out / "model.safetensors").items())]

    run(begun("whole", "kept"))
    moments, notes = 0, set[str]()
    while True:
        job = begun("new", f"kept {moments}")
        steps = list(islice(job, moments + 1))
        job.close()
        if len(steps) == moments:
            break  # it came to its end
        notes.add(steps[-1].note.split(",")[0])
        assert not (tmp_path / "new").exists() and not list(tmp_path.rglob("*.part")), steps[-1].note
        moments += 1
    assert {"loading the model", "attention before", "for training", "attention after"} <= notes
    assert {"epoch 1 of 2", "epoch 2 of 2"} <= notes
    assert weights("new") == weights("whole")
    for moment in range(2, moments, 6):
        run(begun(f"new {moment}", f"kept {moment}"))
        assert weights(f"new {moment}") == weights("whole"), "what a cancelled run kept is whole"
