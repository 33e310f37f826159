"""Commands that read and write feature files of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_zoommil.cli import main


def ran(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_real_files_of_two_tools_are_learnt_and_shown(cmu: Path, data: Path, tmp_path: Path, capsys) -> None:
    """Two slides, one of which is not at hand; their features were extracted by others."""
    trident, clam = (str(data / "interop/features_h5" / tool) for tool in ("trident", "clam"))
    other = "tcga-cr-7395-01a-01-ts1.svs"
    lines = [f"{cmu},a,train", f"{other},b,train", f"x/{cmu.name},a,val", f"x/{other},b,val"]
    (tmp_path / "cohort.csv").write_text("\n".join(["slide,label,split", *lines]))
    model = str(tmp_path / "model")
    settings = ["--model", "abmil", "--features", trident, "--store", str(tmp_path / "store"), "--out", model]
    assert ran(["train", str(tmp_path / "cohort.csv"), *settings, "--epochs", "2"]) == 0
    capsys.readouterr()
    out = tmp_path / "out"
    whole = ["--model", model, "--features", trident, "--out", str(out), "--json"]
    assert ran(["predict", str(cmu), other, *whole]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert [one["magnifications"][0]["taken_from_cache"] for one in (first, second)] == [57, 175]
    for stem in (cmu.stem, Path(other).stem):
        assert np.asarray(Image.open(out / stem / "attention.png")).std() > 1
    named = ["--model", model, "--features", clam, "--out", str(tmp_path / "clam")]
    assert ran(["predict", str(cmu), *named]) == 1
    assert "does not state the encoder of its features; name it with --encoder" in capsys.readouterr().err
    assert ran(["predict", str(cmu), *named, "--encoder", "meanrgb", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["probabilities"] == pytest.approx(first["probabilities"], abs=1e-6)


def test_features_are_exported_for_each_slide(cmu: Path, tmp_path: Path, capsys) -> None:
    how = [
        "--encoder",
        "mean-rgb",
        "--magnifications",
        "10",
        "--patch-size",
        "128",
        "--store",
        str(tmp_path / "s"),
    ]
    assert ran(["embed", str(cmu), *how, "--overlap", "0.5"]) == 0
    export = ["export-features", str(cmu), *how, "--out", str(tmp_path / "o"), "--json"]
    assert ran(export) == 1
    assert "run embed with the same ones first" in capsys.readouterr().err
    assert ran([*export, "--overlap", "64"]) == 0
    (path,) = json.loads(capsys.readouterr().out)["features"]
    assert Path(path) == tmp_path / "o/10x_128px_64px_overlap/features_mean-rgb/CMU-1-Small-Region.h5"
    assert Path(path).is_file()
