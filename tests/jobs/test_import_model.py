"""Other people's checkpoints as models of ours: imported, used, and trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from napari_zoommil.errors import EncoderError, ModelError, UnknownEncoderError
from napari_zoommil.jobs import import_model, predict, run
from napari_zoommil.model_card import not_for_of
from napari_zoommil.model_folder import read_card
from napari_zoommil.models import checkpoint as reading
from napari_zoommil.models import create
from napari_zoommil.models.origins import ORIGINS
from napari_zoommil.models.spec import load_model


def write_checkpoint(path: Path, origin: str = "clam_sb", width: int = 3, classes: int = 2) -> Path:
    """Random weights under the authors' names."""
    torch.manual_seed(0)
    options = {} if origin in ("transmil", "dsmil") else {"hidden": 8, "attention": 4}
    names = ORIGINS[origin]
    weights = create(origin, width, classes, **options).state_dict()
    torch.save({names.published(name): value for name, value in weights.items()}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "clam.pt")


KNOWN: dict[str, Any] = {
    "encoder": "mean-rgb", "patch_size": 32, "magnifications": (10.0,), "class_names": ("benign", "tumour"),
}  # fmt: skip


def test_an_imported_model_predicts(checkpoint: Path, tmp_path: Path, small_slide: Path) -> None:
    result = run(import_model(checkpoint, "clam_sb", out=tmp_path / "model", **KNOWN))
    assert (result.model, result.class_names) == (tmp_path / "model", ("benign", "tumour"))
    _, spec = load_model(result.model)
    assert (spec.architecture, spec.encoder, spec.patch_size, spec.magnifications) == (
        "clam_sb", "mean-rgb", 32, (10.0,),
    )  # fmt: skip
    made = spec.training["imported"]
    assert made["file"] == "clam.pt" and len(made["sha256"]) == 64 and not made["new_head"]
    found = run(predict(small_slide, str(result.model), store=tmp_path / "store"))
    assert found.predicted in ("benign", "tumour") and found.familiarity.status == "unknown"
    again = run(predict(small_slide, str(result.model), store=tmp_path / "store"))
    assert not sum(again.cost.encoded) and again.cost.taken == found.cost.encoded


def test_the_card_says_what_is_not_known(checkpoint: Path, tmp_path: Path) -> None:
    bare = run(import_model(checkpoint, "clam_sb", out=tmp_path / "bare"))
    card = read_card(tmp_path / "bare")
    assert bare.class_names == ("0", "1") and not_for_of(card) == bare.not_for
    assert "encoder it was trained on is not known" in bare.not_for
    assert "Assumed, not known: 20x, patches of 256 px and the names of the classes." in bare.not_for
    assert "CLAM_SB of mahmoodlab/CLAM, from `clam.pt`" in card and "encoder `not known`" in card
    full = run(import_model(checkpoint, "clam_sb", out=tmp_path / "full", **KNOWN))
    assert "known" not in full.not_for and "Imported from another project" in full.not_for


def test_a_model_of_unknown_encoder_asks_for_it(checkpoint: Path, tmp_path: Path, small_slide: Path) -> None:
    how = {**KNOWN, "encoder": None}
    model = str(run(import_model(checkpoint, "clam_sb", out=tmp_path / "model", **how)).model)
    with pytest.raises(
        UnknownEncoderError, match=r"imported without the name of its encoder; name .* with --encoder"
    ):
        run(predict(small_slide, model))
    with pytest.raises(EncoderError, match="takes 3 features per patch, but the encoder nic makes 128"):
        run(predict(small_slide, model, encoder="nic"))
    assert run(predict(small_slide, model, encoder="mean-rgb")).predicted in ("benign", "tumour")


def test_a_feather_folder_has_no_head(tmp_path: Path, small_slide: Path) -> None:
    names, folder = ORIGINS["abmil"], tmp_path / "feather"
    folder.mkdir()
    weights = create("abmil", 3, 2, hidden=8, attention=4).state_dict()
    save_file(
        {f"model.{names.published(name)}": one for name, one in weights.items() if "classify" not in name},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "abmil", "in_dim": 3, "dropout": 0.25}))
    how = {**KNOWN, "class_names": ("a", "b", "c")}
    result = run(import_model(folder, "abmil", out=tmp_path / "model", **how))
    assert "It has no classifier" in result.not_for
    found = run(predict(small_slide, str(result.model)))
    assert found.values == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"class_names": ("a", "b", "c")}, ModelError, "has 2 outputs, but the classes are a, b, c"),
        ({"class_names": ("a", "a")}, ModelError, "has 2 outputs"),
        ({"encoder": "nic"}, ModelError, "takes 3 features per patch, but the encoder nic makes 128"),
        ({"encoder": "none-such"}, EncoderError, "there is no encoder"),
        ({"magnifications": (5.0, 10.0)}, ModelError, "reads 1 magnifications, not 5x, 10x"),
        ({"options": {"sampled": 0}}, ModelError, "sampled = 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    checkpoint: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(import_model(checkpoint, "clam_sb", out=tmp_path / "model", **{**KNOWN, **changes}))
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_taken_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("")
    with pytest.raises(ModelError, match="holds files already"):
        run(import_model(checkpoint, "clam_sb", out=tmp_path / "model"))
    run(import_model(checkpoint, "clam_sb", out=tmp_path / "model", overwrite=True))
    load_model(tmp_path / "model")


# The classifier of clam_mb is several modules there and one here; tests/models/test_imported.py has it.
@pytest.mark.parametrize("origin", sorted({*ORIGINS} - {"clam_mb"}))
def test_each_origin_makes_a_model_that_loads(
    origin: str, tmp_path: Path, make_bag: Callable, make_grid
) -> None:
    path = write_checkpoint(tmp_path / "a.pt", origin)
    model, spec = load_model(run(import_model(path, origin, out=tmp_path / "model")).model)
    model.patch_size = None
    bag = make_bag(make_grid(2, 3, spec.magnifications), 3)
    with torch.no_grad():
        assert torch.isfinite(model(bag).logits).all()


def test_a_configuration_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abmil"}))
    assert reading._stated(tmp_path) == {"model_type": "abmil"}
    monkeypatch.setattr(reading, "MOST_TABLE_BYTES", 5)
    with pytest.raises(ModelError, match=r"config\.json in .* cannot be read"):
        reading._stated(tmp_path)
