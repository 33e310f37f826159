"""A model folder is data: what it names is not run and not fetched, whichever job is asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil import encoders
from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.bags import Bag, CachedBag, FeatureCache, LazyBag, StoredBag
from napari_zoommil.bags.cache import EncoderKey
from napari_zoommil.bags.subgrid import TensorBag
from napari_zoommil.bags.view import PartBag
from napari_zoommil.encoders import Encoder
from napari_zoommil.errors import ConsentError, EncoderError, ModelError, ZoomMILError
from napari_zoommil.jobs import Job, estimate, explain, finetune, predict, run, train
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.kept import release
from napari_zoommil.jobs.loading import encoder_on, loaded
from napari_zoommil.jobs.zoom import zoom
from napari_zoommil.models.spec import read_spec
from napari_zoommil.slides import Slide, patching

Make = Callable[..., str]


@pytest.fixture
def slide(tmp_path: Path, make_slide: Callable[..., Path]) -> Path:
    """512 px of purple tissue at 10x."""
    return make_slide(tmp_path / "slide.tif", (120, 60, 160))


def jobs(slide: Path, model: str, out: Path, **options: Any) -> dict[str, Job[Any]]:
    """Every job that takes a MIL model."""
    points = Points(classes=[CellClass("tumour", (213, 94, 0))])
    points.add(np.array([(200.0, 200.0), (300.0, 300.0)]), 1)
    return {
        "estimate": estimate(slide, model, **options),
        "predict": predict(slide, model, **options),
        "explain": explain(slide, model, **options),
        "finetune": finetune(slide, points, model, out=out, epochs=1, **options),
    }


JOBS = ("estimate", "predict", "explain", "finetune")


@pytest.fixture
def made(make_model: Make, spy) -> Callable[..., str]:  # type: ignore[no-untyped-def]
    """A model on what ``spy`` gives, with an encoder of any name."""

    def make(encoder: str, **changes: Any) -> str:
        changes = {"encoder_hash": spy.hash, "patch_size": 32} | changes
        return make_model((5.0, 10.0), encoder=encoder, **changes)

    return make


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("place", ["absolute", "inside", "local-dir", "linked"])
def test_code_that_a_folder_names_is_never_run(
    made: Make, slide: Path, spy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, job: str
) -> None:
    monkeypatch.chdir(spy.path.parent)
    if place == "linked":
        (tmp_path / "nic").symlink_to(spy.path)
    named = {
        "absolute": str(spy.path),
        "inside": spy.path.name,
        "local-dir": f"local-dir:{spy.path.parent}",
        "linked": "../nic",
    }
    model = made(named[place])
    with pytest.raises(ConsentError, match="TorchScript is code") as caught:
        run(jobs(slide, model, tmp_path / "new")[job])
    assert caught.value.encoder == named[place] and not caught.value.from_hub
    assert spy.ran == [] and not (tmp_path / "new").exists()


@pytest.mark.parametrize("job", JOBS)
def test_the_file_that_the_user_names_is_run(made: Make, slide: Path, spy, tmp_path: Path, job: str) -> None:
    model = made("net.pt")
    run(jobs(slide, model, tmp_path / "new", encoder=str(spy.path))[job])
    assert spy.ran == ["called", "loaded"]
    if job == "finetune":
        assert read_spec(tmp_path / "new").encoder == "net.pt"
        assert run(predict(slide, str(tmp_path / "new"), encoder=str(spy.path))).cost.encoded


@pytest.mark.parametrize("job", JOBS)
def test_another_file_than_the_models_is_not_run(
    made: Make, slide: Path, spy, tmp_path: Path, job: str
) -> None:
    model = made("net.pt", encoder_hash="0" * 16)
    with pytest.raises(EncoderError, match=r"trained on other weights of the encoder .*net\.pt"):
        run(jobs(slide, model, tmp_path / "new", encoder=str(spy.path))[job])
    assert spy.ran == []


def test_the_command_says_it_in_a_line(made: Make, slide: Path, spy, tmp_path: Path, capsys) -> None:
    from napari_zoommil.cli import main

    command = ["predict", str(slide), str(slide), "--model", made("net.pt"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main(command)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert end.value.code == 1 and "'net.pt'" in line and "--encoder" in line and spy.ran == []
    with pytest.raises(SystemExit) as end:
        main([*command, "--encoder", str(spy.path)])
    assert end.value.code == 0 and list((tmp_path / "out").rglob("prediction.json"))


def test_trained_on_a_file_used_with_the_file(slide: Path, spy, tmp_path: Path, make_slide: Callable) -> None:
    lines = ["slide,label,split"]
    for number in range(4):
        make_slide(tmp_path / f"{number}.tif", ((120, 60, 160), (220, 130, 170))[number % 2], 256, number)
        lines.append(f"{number}.tif,{'ab'[number % 2]},{'train' if number < 2 else 'val'}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    result = run(
        train(
            tmp_path / "cohort.csv", store=tmp_path / "store", out=tmp_path / "trained", epochs=1,
            options={"k": 2},
            encoder=str(spy.path), magnifications=(5.0, 10.0), patch_size=32,
        )
    )  # fmt: skip
    text = (result.model / "config.json").read_text(encoding="utf-8")
    assert read_spec(result.model).encoder == "net.pt" and str(spy.path.parent) not in text
    with pytest.raises(ConsentError, match=r"'net\.pt'"):
        run(predict(slide, str(result.model)))
    moved = spy.path.rename(tmp_path / "elsewhere.ts")
    assert run(predict(slide, str(result.model), encoder=str(moved))).class_names == ("a", "b")


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", ["hf-hub:owner/name", "vit_tiny_patch16_224"])
def test_the_hub_is_not_asked_unasked(
    made: Make, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, name: str
) -> None:
    asked: list[str] = []

    def create(name: str, **_: Any) -> None:
        asked.append(name)
        raise OSError("no network here")

    monkeypatch.setattr("timm.create_model", create)
    with pytest.raises(ConsentError, match=f"allow it; --encoder {name}") as caught:
        run(jobs(slide, made(name), tmp_path / "new")[job])
    assert caught.value.from_hub and asked == []
    with pytest.raises(EncoderError, match="no network here"):
        run(jobs(slide, made(name), tmp_path / "new", encoder=caught.value.encoder)[job])
    assert asked == [name]


def test_the_models_encoder_may_be_named_too(make_model: Make, slide: Path) -> None:
    model = make_model((5.0, 10.0), patch_size=32)
    own, named = run(predict(slide, model)), run(predict(slide, model, encoder="mean-rgb"))
    np.testing.assert_array_equal(own.logits, named.logits)
    with pytest.raises(EncoderError, match="other weights of the encoder nic"):
        run(predict(slide, model, encoder="nic"))


@pytest.mark.parametrize("encoder", [None, 3, ["nic"], {"nic": 1}])
def test_an_encoder_that_is_no_name(made: Make, slide: Path, encoder: Any) -> None:
    model = made("nic")
    path = Path(model) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder": encoder}))
    with pytest.raises(ModelError, match="malformed"):
        run(predict(slide, model))


def test_a_cell_model_has_no_encoder(discs, make_cell_model: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a cell model: an encoder is for MIL models"):
        run(finetune(discs[0], Points(), make_cell_model(), out=tmp_path / "new", encoder="nic"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_a_folder_is_not_waited_for(
    made: Make, make_cell_model: Make, slide: Path, tmp_path: Path, name: str
) -> None:
    for model in (made("nic"), make_cell_model()):
        (Path(model) / name).unlink()
        os.mkfifo(Path(model) / name)
        for job in jobs(slide, model, tmp_path / "new").values():
            with pytest.raises(ZoomMILError):
                run(job)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the encoders that were loaded, and not taken from memory."""
    names: list[str] = []
    real = encoders.load_encoder

    def load(name: str, expected: str | None = None) -> encoders.Encoder:
        names.append(name)
        return real(name, expected)

    monkeypatch.setattr(encoders, "load_encoder", load)
    release()
    return names


def test_an_estimate_and_its_run_load_the_encoder_once(
    make_model: Make, slide: Path, loads: list[str]
) -> None:
    model = make_model((5.0, 10.0), patch_size=32)
    loads.clear()  # that of making it
    run(estimate(slide, model))
    first = run(predict(slide, model))
    assert loads == ["mean-rgb"]
    release()
    second = run(predict(slide, model))
    assert loads == ["mean-rgb"] * 2
    np.testing.assert_array_equal(first.logits, second.logits)


def test_one_encoder_is_kept(loads: list[str]) -> None:
    for name in ("mean-rgb", "nic", "mean-rgb"):
        with encoder_on("cpu", name):
            pass
    assert loads == ["mean-rgb", "nic", "mean-rgb"]
    with encoder_on("cpu", "mean-rgb") as encoder:
        assert encoder.name == "mean-rgb"
    assert len(loads) == 3


def test_jobs_beside_each_other_have_a_copy_each(loads: list[str]) -> None:
    with encoder_on("cpu", "mean-rgb") as one, encoder_on("cpu", "mean-rgb") as other:
        assert one is not other
    with encoder_on("cpu", "mean-rgb") as kept:
        assert kept is one
    assert len(loads) == 2


def test_it_is_on_the_cpu_between_jobs(loads: list[str]) -> None:
    with encoder_on("meta", "mean-rgb") as encoder:
        assert encoder.device.type == "meta"
    assert encoder.device.type == "cpu"


def test_other_weights_than_expected_are_refused_though_kept(loads: list[str]) -> None:
    with encoder_on("cpu", "mean-rgb"):
        pass
    with pytest.raises(EncoderError, match="other weights"), encoder_on("cpu", "mean-rgb", "0" * 16):
        pass


def test_a_model_that_changed_on_disk_is_read_anew(make_model: Make, slide: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    before = run(predict(slide, make_model((5.0, 10.0), patch_size=32)))
    model = make_model((5.0, 10.0), patch_size=32, class_names=("a", "b"))
    weights = Path(model) / "model.safetensors"
    save_file({name: torch.zeros_like(one) for name, one in load_file(weights).items()}, weights)
    after = run(predict(slide, model))
    assert after.class_names == ("a", "b")
    assert np.abs(before.logits).max() > 0 and np.abs(after.logits).max() == 0


def test_an_encoder_file_that_changed_is_read_anew(spy, loads: list[str]) -> None:  # type: ignore[no-untyped-def]
    for _ in range(2):
        with encoder_on("cpu", str(spy.path), spy.hash) as encoder:
            first = encoder.hash
    assert loads == [str(spy.path)]
    content = spy.path.read_bytes()
    spy.path.write_bytes(content + b"\n")
    with pytest.raises(EncoderError, match="other weights"), encoder_on("cpu", str(spy.path), first):
        pass
    assert len(loads) == 2


def test_a_taught_model_is_not_what_the_next_job_gets(make_model: Make, slide: Path) -> None:
    import torch

    model = make_model((5.0, 10.0), patch_size=32)
    before = run(predict(slide, model))
    with loaded(model, "cpu", to_train=True) as taught:
        for weight in taught.model.parameters():
            torch.nn.init.ones_(weight)
    np.testing.assert_array_equal(run(predict(slide, model)).logits, before.logits)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches that a store holds, and those that are found, have another size than they are asked for."""
    real = patching.patch_grid

    def halved(slide: Slide, tissue: Any, magnifications: Any, patch_size: int, *how: Any) -> Any:
        return real(slide, tissue, magnifications, patch_size // 2, *how)

    for job in ("model_on_slide", "features", "estimate"):
        monkeypatch.setattr(sys.modules[f"napari_zoommil.jobs.{job}"], "patch_grid", halved)


@pytest.mark.parametrize("job", [*JOBS, "train"])
def test_patches_of_another_size_are_refused_by_every_job(
    make_model: Make, foreign: None, slide: Path, tmp_path: Path, make_slide: Callable, job: str
) -> None:
    model = make_model((5.0, 10.0), patch_size=64)
    if job == "train":
        lines = [f"{make_slide(tmp_path / f'{n}.tif', (120, 60, 160), 256, n)},{n % 2},{split}"
                 for n, split in enumerate(("train", "train", "val", "val"))]  # fmt: skip
        (tmp_path / "cohort.csv").write_text("\n".join(["slide,label,split", *lines]))
        asked: Job[Any] = train(
            tmp_path / "cohort.csv", store=tmp_path / "features", out=tmp_path / "new", encoder="mean-rgb",
            magnifications=(5.0, 10.0), patch_size=64, options={"k": 2}, epochs=1,
        )  # fmt: skip
    else:
        asked = jobs(slide, model, tmp_path / "new")[job]
    with pytest.raises(ModelError, match="reads patches of 64 px, but these have 32 px"):
        run(asked)
    assert not (tmp_path / "new").exists()


def test_features_of_another_encoder_are_refused_whatever_bag_holds_them(
    make_model: Make, slide: Path, tmp_path: Path
) -> None:
    """A store, a bag that encodes, a part of it, and features in memory: each says whose features it has."""
    with loaded(make_model((5.0, 10.0), patch_size=32)) as with_model, Slide.open(slide) as opened:
        mil, encoder, cache = with_model.model, with_model.encoder, FeatureCache(tmp_path / "features")
        key = grid_key(opened, (5.0, 10.0), 32, 0.1)
        grid = run(find_patches(opened, cache, key))
        other = copy(encoder)
        other.hash = "0" * 16

        def bags(network: Encoder) -> list[Bag]:
            whole = CachedBag(cache, opened, grid, network)
            features = tuple(whole.features(n, np.arange(len(level))) for n, level in enumerate(grid.levels))
            stored = StoredBag(cache, opened.fingerprint, key, EncoderKey(network.name, network.hash))
            part = PartBag.of_trees(whole, np.arange(len(grid.levels[0])))
            return [
                LazyBag(opened, grid, network),
                whole,
                part,
                stored,
                TensorBag(grid, features, network.hash),
            ]

        outputs = [mil(bag).logits for bag in bags(encoder)]
        assert all(torch.allclose(one, outputs[0], atol=1e-2) for one in outputs)
        for bag in bags(other):
            with pytest.raises(ModelError, match=r"but these are from 0{16}; embed the slide with"):
                mil(bag)
            with pytest.raises(ModelError, match=r"but these are from 0{16}"):
                run(zoom(mil, bag, torch.device("cpu")))
