from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_zoommil import model_folder as module
from napari_zoommil.errors import ModelError
from napari_zoommil.model_folder import (
    CARD,
    CONFIG,
    FORMAT,
    MARKS,
    SHIPPED,
    WEIGHTS,
    find_model,
    kind_of,
    malformed,
    read_config,
    shipped,
    write_folder,
)
from napari_zoommil.models import create
from napari_zoommil.models.spec import ModelSpec, load_model, read_spec, save_model


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, torch.nn.Module, ModelSpec]:
    torch.manual_seed(0)
    model = create("zoommil", in_features=4, classes=2, magnifications=(5, 10), k=3, hidden=8, attention=4)
    spec = ModelSpec("zoommil", model.config(), "mean-rgb", "0" * 16, 128, ("benign", "tumour"))
    save_model(tmp_path / "model", model, spec, "# A model\n")
    return tmp_path / "model", model, spec


def edit(path: Path, **changes: object) -> None:
    content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    (path / CONFIG).write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_a_saved_model_comes_back(saved, make_grid: Callable, make_bag: Callable) -> None:  # type: ignore[no-untyped-def]
    path, model, spec = saved
    loaded, read = load_model(path)
    assert read == spec and read.magnifications == (5.0, 10.0)
    assert not loaded.training and not any(weight.requires_grad for weight in loaded.parameters())
    bag = make_bag(make_grid(3, 3, (5.0, 10.0), patch_size=128), 4)
    assert torch.equal(loaded(bag).logits, model.eval()(bag).logits)
    assert sorted(file.name for file in path.iterdir()) == sorted([CARD, CONFIG, WEIGHTS])


def test_saving_replaces(saved) -> None:  # type: ignore[no-untyped-def]
    path, model, spec = saved
    save_model(path, model, spec, "# Another card\n")
    assert (path / CARD).read_text(encoding="utf-8") == "# Another card\n"
    assert not list(path.glob(".*"))


def test_a_single_file_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"model\.pt is a single file.*import-model makes one"):
        load_model(tmp_path / "model.pt")


def test_an_absent_model_says_what_would_do() -> None:
    with pytest.raises(ModelError, match=r"no model 'nothing'; give a folder.*, or demo$"):
        load_model("nothing")
    with pytest.raises(ModelError, match=r"no model 'nothing'; give a folder.* unet, haematoxylin$"):
        find_model("nothing", "cells")


@pytest.mark.parametrize("name", shipped("cells"))
def test_a_shipped_cell_model_is_no_mil_model(name: str) -> None:
    said = f"^{name} is a cell model; use it with detect/finetune, or choose demo here$"
    for refused in (read_spec, load_model):
        with pytest.raises(ModelError, match=said):
            refused(name)


def test_a_folder_of_another_kind_is_refused(saved) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=r"is a MIL model; .* or choose yollo or unet"):
        read_config(saved[0], "cells")
    assert read_config(saved[0], "mil")[1]["encoder"] == "mean-rgb"


def test_every_shipped_model_is_of_its_kind() -> None:
    assert shipped("mil") + shipped("cells") == tuple(SHIPPED)
    for name, kind in SHIPPED.items():
        folder, content = read_config(name, kind)
        assert folder == find_model(name) and MARKS[kind] in content
        assert (content["kind"], content["format"]) == (kind, FORMAT)


def test_a_folder_states_its_kind_and_format(saved, make_cell_model: Callable[..., str]) -> None:  # type: ignore[no-untyped-def]
    for folder, kind in ((saved[0], "mil"), (Path(make_cell_model()), "cells")):
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        assert list(content.items())[:2] == [("kind", kind), ("format", 1)]


def test_an_encoder_is_neither_a_mil_nor_a_cell_model(tmp_path: Path) -> None:
    write_folder(tmp_path, torch.nn.Linear(1, 1), {"classes": 3}, "# E\n", "encoder")
    assert kind_of(tmp_path) == "encoder"
    assert read_config(tmp_path, "encoder")[1]["classes"] == 3
    with pytest.raises(ModelError, match=r"is an encoder; use it with embed/train, or choose demo here"):
        read_spec(tmp_path)
    with pytest.raises(ModelError, match=r"demo is a MIL model; use it with predict/explain/finetune$"):
        read_config("demo", "encoder")


def test_the_stated_kind_counts_more_than_the_entries(saved) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], classes=[])
    assert kind_of(saved[0]) == "mil"
    edit(saved[0], kind="cells")
    assert kind_of(saved[0]) == "cells"


def test_a_folder_of_an_earlier_version_is_read(saved, make_cell_model: Callable[..., str]) -> None:  # type: ignore[no-untyped-def]
    for folder, kind in ((saved[0], "mil"), (Path(make_cell_model()), "cells")):
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        del content["kind"], content["format"]
        (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")
        assert kind_of(folder) == kind and read_config(folder, kind)[1] == content
    assert load_model(saved[0])[1] == saved[2]


@pytest.mark.parametrize("changes", [{"format": 2}, {"kind": "segmenter"}, {"kind": "x", "format": 9}])
def test_a_folder_of_a_later_version_is_refused(saved, changes: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], **changes)
    with pytest.raises(ModelError, match=r"was made by a later version of napari-zoommil \(.*update"):
        load_model(saved[0])


@pytest.mark.parametrize("changes", [{"format": 0}, {"format": "1"}, {"format": True}, {"kind": ["mil"]}])
def test_a_malformed_kind_or_format_is_told(saved, changes: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], **changes)
    with pytest.raises(ModelError, match=f"malformed \\({next(iter(changes))} is "):
        load_model(saved[0])
    assert kind_of(saved[0]) == "cells", "whoever loads it says what is wrong"


def test_what_is_shipped_is_known_without_torch() -> None:
    code = (
        "import sys; from napari_zoommil.model_folder import read_config, shipped; "
        "read_config(shipped('cells')[0], 'cells'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_shipped_model_missing_from_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*parts: str) -> Path:
        raise FileNotFoundError("models/demo is missing; reinstall napari-zoommil")

    monkeypatch.setattr(module, "resource", missing)
    with pytest.raises(ModelError, match="reinstall"):
        load_model("demo")


def test_a_hub_model_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"no folder nobody/nothing, and no model.*could be fetched.*give its folder"
    ):
        load_model("nobody/nothing")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"class_names": 3}', '{"class_names": ["a"], "x": 1}'])
def test_a_malformed_configuration(saved, content: str) -> None:  # type: ignore[no-untyped-def]
    path = saved[0]
    (path / CONFIG).write_text(content)
    with pytest.raises(ModelError, match=f"{CONFIG} is missing or malformed"):
        read_spec(path)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing or malformed"):
        load_model(tmp_path)


def test_an_architecture_of_a_later_version(saved) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], architecture="zoommil-9")
    with pytest.raises(ModelError, match="'zoommil-9', which this version does not support"):
        load_model(saved[0])


def test_weights_that_do_not_fit(saved) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], config={**saved[2].config, "hidden": 9})
    with pytest.raises(ModelError, match="do not fit"):
        load_model(saved[0])


@pytest.mark.parametrize("weights", [None, b"not safetensors"])
def test_broken_weights(saved, weights: bytes | None) -> None:  # type: ignore[no-untyped-def]
    (saved[0] / WEIGHTS).unlink()
    if weights is not None:
        (saved[0] / WEIGHTS).write_bytes(weights)
    with pytest.raises(ModelError, match="do not fit"):
        load_model(saved[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(saved, value: float) -> None:  # type: ignore[no-untyped-def]
    folder = saved[0]
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[0] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"are damaged: {name} has values that are no numbers"):
        load_model(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool])
def test_weights_that_were_rounded(saved, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    folder = saved[0]
    weights = load_file(folder / "model.safetensors")
    save_file({name: one.to(dtype) for name, one in weights.items()}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"{str(dtype)[6:]} where float32 is needed"):
        load_model(folder)


def test_weights_of_half_precision_are_numbers(saved) -> None:  # type: ignore[no-untyped-def]
    folder = saved[0]
    weights = load_file(folder / "model.safetensors")
    save_file({name: one.half() for name, one in weights.items()}, folder / "model.safetensors")
    assert all(one.dtype == torch.float32 for one in load_model(folder)[0].parameters())


@pytest.mark.parametrize("patch_size", [0, 1, 100_000])
def test_patches_of_an_absurd_size(saved, patch_size: int) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], patch_size=patch_size)
    with pytest.raises(ModelError, match="patch_size"):
        load_model(saved[0])


def test_a_class_name_given_twice(saved) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], class_names=["tumour"] * len(saved[2].class_names))
    with pytest.raises(ModelError, match="class_names has a name twice"):
        load_model(saved[0])


def test_class_names_must_be_as_many_as_classes(saved) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], class_names=["a", "b", "c"])
    with pytest.raises(ModelError, match="names 3 classes, but its model has 2"):
        load_model(saved[0])


@pytest.mark.parametrize("classes", [10**9, "2", None])
def test_as_many_classes_as_are_named_are_asked_for(saved, classes: Any) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], config=json.loads((saved[0] / "config.json").read_text())["config"] | {"classes": classes})
    with pytest.raises(ModelError, match="names 2 classes, but its model has"):
        load_model(saved[0])  # at once: nothing is made of so many


@pytest.mark.parametrize(
    "entries",
    [
        {"format": 10**900},
        {"kind": "x" * 10_000},
        {"kind": "a\nb"},
        {"architecture": "x" * 10_000},
        {"encoder": "x" * 10_000},
        {"class_names": ["x" * 10_000, "y"]},
    ],
)
def test_a_sentence_does_not_quote_all_of_a_long_value_or_two_lines(saved, entries: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    edit(saved[0], **entries)
    with pytest.raises(ModelError) as told:
        load_model(saved[0])
    assert len(str(told.value)) < 300 + 2 * len(str(saved[0])) and "\n" not in str(told.value)


def test_what_kind_of_model_a_folder_holds(
    saved,  # type: ignore[no-untyped-def]
    make_cell_model: Callable[..., str],
    tmp_path: Path,
) -> None:
    assert kind_of(saved[0]) == kind_of("demo") == "mil"
    assert kind_of(make_cell_model()) == kind_of("yollo") == kind_of(tmp_path) == "cells"
    (tmp_path / CONFIG).write_text("[not json")
    assert kind_of(tmp_path) == "cells"


def test_a_missing_folder_in_a_folder_that_is_there_is_not_asked_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_zoommil.model_folder._download", lambda name: pytest.fail(name))
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match="there is no model 'out/t1'; give a folder"):
        find_model("out/t1")


def test_a_long_value_of_a_configuration_is_cut() -> None:
    assert len(str(malformed(Path("a"), "k = " + "x" * 5000))) < 400
