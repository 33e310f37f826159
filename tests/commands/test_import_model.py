"""``import-model`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from napari_zoommil.cli import main
from napari_zoommil.models import create
from napari_zoommil.models.origins import ORIGINS
from napari_zoommil.models.spec import read_spec


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    weights = create("clam_sb", 3, 2, hidden=8, attention=4).state_dict()
    torch.save({ORIGINS["clam_sb"].published(name): one for name, one in weights.items()}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_a_checkpoint_becomes_a_model(checkpoint: Path, tmp_path: Path, capsys) -> None:
    about = (
        "--encoder",
        "mean-rgb",
        "--patch-size",
        64,
        "--magnifications",
        "10",
        "--classes",
        "benign, tumour",
    )
    out = tmp_path / "model"
    assert call("import-model", checkpoint, "--as", "clam_sb", "--out", out, *about, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == ["benign", "tumour"] and found["model"] == str(out)
    assert (read_spec(out).patch_size, read_spec(out).magnifications) == (64, (10.0,))


def test_options_are_set_and_wrong_ones_told(checkpoint: Path, tmp_path: Path, capsys) -> None:
    asked = ("import-model", checkpoint, "--as", "clam_sb", "--out", tmp_path / "model")
    assert call(*asked, "--set", "heads=2") == 1
    assert "there is no option 'heads'" in capsys.readouterr().err
    assert call(*asked, "--set", "subtyping=true") == 0
    assert "Assumed, not known: 20x" in capsys.readouterr().out
    assert read_spec(tmp_path / "model").config["subtyping"] is True
    assert call("import-model", checkpoint, "--as", "transmil", "--out", tmp_path / "other") == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: a.pt does not hold the weights of TransMIL") and "\n" not in told
