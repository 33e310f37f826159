from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_zoommil.cli import main
from napari_zoommil.commands import models
from napari_zoommil.jobs.finetune_runs import models_folder
from napari_zoommil.model_folder import find_model
from napari_zoommil.slides import Slide


def test_what_is_there_is_listed_with_what_it_must_not_be_used_for(
    cmu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(cmu, tmp_path / "slide.svs"))
    with Slide.open(path) as slide:
        kept = models_folder(slide) / "mine"
    shutil.copytree(find_model("yollo"), kept)
    monkeypatch.setattr(models, "cached_models", lambda: {"owner/theirs": find_model("demo")})
    with pytest.raises(SystemExit) as end:
        main(["models", str(path), "--json"])
    assert not end.value.code
    found = {(one["where"], one["model"]): one for one in json.loads(capsys.readouterr().out)}
    assert found["shipped", "demo"]["keeps_statistics"]
    assert "real tissue" in found["shipped", "demo"]["not_for"]
    assert found["shipped", "nic"]["kind"] == "encoder" and found["train", "zoommil"]["takes"]
    assert found["kept on slide.svs", str(kept)]["kind"] == "cells"
    assert found["hub cache", "owner/theirs"]["kind"] == "mil"
    text = models.present_text(models.describe_present([]))
    assert "demo (MIL model, shipped)\n  Not for real tissue" in text


def test_the_cache_of_the_hub_holds_others_models_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    from napari_zoommil.model_folder import cached_models

    for name, content in (("ours", find_model("demo") / "config.json"), ("theirs", None)):
        folder = tmp_path / f"models--owner--{name}" / "snapshots" / ("a" * 40)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(content.read_text() if content else "{}")
        refs = tmp_path / f"models--owner--{name}" / "refs"
        refs.mkdir()
        (refs / "main").write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert list(cached_models()) == ["owner/ours"]
