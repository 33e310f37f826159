"""Checkpoints under the authors' names answer as the published passes do, and damaged ones are refused."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from napari_zoommil.errors import ModelError
from napari_zoommil.models import create
from napari_zoommil.models.checkpoint import read_checkpoint
from napari_zoommil.models.imported import ImportedModel, _with_first_class, import_weights, origin_named
from napari_zoommil.models.mil import MILOutput
from napari_zoommil.models.origins import ORIGINS

_place = Path(__file__).with_name("published.py")
_spec = importlib.util.spec_from_file_location("published", _place)
assert _spec and _spec.loader
published = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(published)


def imported(folder: Path, weights: Any, origin: str, **given: Any) -> ImportedModel:
    torch.save(weights, folder / "checkpoint.pt")
    return import_weights(read_checkpoint(folder / "checkpoint.pt"), origin_named(origin), **given)


@pytest.fixture
def bag(make_grid: Callable, make_bag: Callable) -> Any:
    """19 patches: no square, no multiple of anything."""
    return make_bag(make_grid(1, 19, (20.0,)), 6)


def answer(model: ImportedModel, bag: Any) -> tuple[MILOutput, Tensor]:
    with torch.no_grad():
        return model.model(bag), torch.from_numpy(bag.arrays[0])


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(
    ("at", "first", "gate"),
    [
        ("attention_net.3", "attention_net.0", True),
        ("attention_net.2", "attention_net.0", True),  # without dropout, in old versions
        ("attention_net.module.3", "attention_net.module.0", True),  # of two devices
        ("attention_net.3", "attention_net.0", False),
    ],
)
def test_clam(tmp_path: Path, bag: Any, multi: bool, at: str, first: str, gate: bool) -> None:
    how = {"multi": multi, "at": at, "first": first, "gate": gate}
    weights = published.draw(published.clam_shapes(3, **how))
    model = imported(
        tmp_path, weights | {"instance_loss_fn.labels": torch.arange(2)}, "clam_mb" if multi else "clam_sb"
    )
    output, features = answer(model, bag)
    logits, raw = published.clam(weights, features, 3, **how)
    close(output.logits, logits)
    close(output.steps[0].scores, raw)
    close(model.model.instances[1].weight, weights["instance_classifiers.1.weight"])


@pytest.mark.parametrize(("deep", "values"), [(True, False), (True, True), (False, True), (False, False)])
def test_dsmil(tmp_path: Path, bag: Any, deep: bool, values: bool) -> None:
    weights = published.draw(published.dsmil_shapes(deep, values))
    output, features = answer(imported(tmp_path, weights, "dsmil"), bag)
    logits, attention, scores = published.dsmil(weights, features, deep, values)
    close(output.logits, logits)
    close(output.steps[0].scores[:, :2].softmax(0), attention)
    close(output.steps[0].scores[:, 2:], scores)


def test_transmil(tmp_path: Path, bag: Any) -> None:
    weights = published.draw(published.transmil_shapes())
    lightning = {"epoch": 3, "state_dict": {f"model.{name}": value for name, value in weights.items()}}
    output, features = answer(imported(tmp_path, lightning, "transmil"), bag)
    logits, rows = published.transmil(weights, features)
    close(output.logits, logits)
    count = len(features)
    shares = rows[:, :count].clone()
    shares[:, : rows.shape[1] - count] += rows[:, count:]  # of the patches that fill the square
    found = output.steps[0].scores[:, 1:].exp().T
    close(found, shares.clamp(min=1e-6 / count))


def test_zoommil(tmp_path: Path, make_grid: Callable, make_bag: Callable) -> None:
    weights = published.draw(published.zoommil_shapes())
    model = imported(tmp_path, weights, "zoommil", options={"k": 3}).model
    assert model.magnifications == (5, 10, 20) and model.options.topk == "paper"
    bag = make_bag(make_grid(3, 4, (5.0, 10.0, 20.0)), 6)
    orders = [np.arange(12)]  # the authors' files hold children by parent
    for level in bag.grid.levels[1:]:
        rank = np.argsort(orders[-1])
        orders.append(np.argsort(rank[level.parent], kind="stable"))
    levels = [torch.from_numpy(one[order]) for one, order in zip(bag.arrays, orders, strict=True)]
    logits, attention, selected = published.zoommil(weights, levels, 3)
    with torch.no_grad():
        output = model(bag)
    close(output.logits, logits)
    for number, step in enumerate(output.steps):
        rows = torch.from_numpy(orders[number]).double()
        for done, choice in enumerate(selected[:number]):
            rows = torch.kron(choice, torch.eye(4 ** (number - done))).double() @ rows
        np.testing.assert_array_equal(step.rows, rows.sort().values.long().numpy())
        close(step.attention, attention[number][rows.argsort()])


def hub_folder(folder: Path, head: bool, **stated: Any) -> dict[str, Tensor]:
    """A folder as MIL-Lab's models have it on the hub."""
    weights = published.draw(published.abmil_shapes(head))
    save_file(weights, folder / "model.safetensors")
    config = {"model_type": "abmil", "in_dim": 6, "embed_dim": 8, "attn_dim": 5, "gate": True, "dropout": 0.1}
    (folder / "config.json").write_text(json.dumps(config | stated))
    return weights


def test_abmil_of_a_hub_folder(tmp_path: Path, bag: Any) -> None:
    weights = hub_folder(tmp_path, head=True)
    model = import_weights(read_checkpoint(tmp_path), ORIGINS["abmil"])
    output, features = answer(model, bag)
    logits, raw = published.abmil(weights, features)
    close(output.logits, logits)
    close(output.steps[0].scores, raw)
    assert not model.new_head and model.model.options.dropout == 0.1


def test_a_model_without_a_head_gets_one_that_knows_nothing(tmp_path: Path, bag: Any) -> None:
    hub_folder(tmp_path, head=False)
    model = import_weights(read_checkpoint(tmp_path), ORIGINS["abmil"], classes=3)
    output, _ = answer(model, bag)
    assert model.new_head
    close(output.logits, torch.zeros(3))


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    hub_folder(tmp_path, head=True, model_type="titan")
    with pytest.raises(ModelError, match="says that it holds a 'titan', not a 'abmil'"):
        import_weights(read_checkpoint(tmp_path), ORIGINS["abmil"])


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    weights = published.draw(published.clam_shapes(2, False))
    del weights["attention_net.3.attention_c.bias"], weights["instance_classifiers.1.weight"]
    weights["classifiers.bias"] = torch.zeros(5)
    weights["survival.weight"] = torch.zeros(1)
    weights["classifiers.n"] = 3
    with pytest.raises(ModelError) as error:
        imported(tmp_path, weights, "clam_sb")
    told = str(error.value)
    assert "does not hold the weights of CLAM_SB of mahmoodlab/CLAM" in told
    assert "names that are not known: survival.weight, classifiers.n;" in told
    assert "it lacks: attention_net.3.attention_c.bias, instance_classifiers.1.weight" in told
    assert "classifiers.bias is [5] where [2] is needed" in told


def test_without_the_first_layer_all_else_is_still_told(tmp_path: Path) -> None:
    weights = published.draw(published.transmil_shapes()) | {"extra": torch.zeros(1)}
    del weights["_fc1.0.weight"]
    with pytest.raises(ModelError, match=r"not known: extra; it lacks: _fc1\.0\.weight"):
        imported(tmp_path, weights, "transmil")


def test_the_right_origin_is_told(tmp_path: Path) -> None:
    weights = published.draw(published.clam_shapes(2, True))
    with pytest.raises(ModelError, match=r"its names are those of clam_mb$"):
        imported(tmp_path, weights, "clam_sb")
    with pytest.raises(ModelError, match="choose one of abmil, clam_sb"):
        origin_named("clam")


def test_two_names_of_one_weight_are_refused(tmp_path: Path) -> None:
    weights = published.draw(published.clam_shapes(2, False))
    weights["attention_net.2.attention_c.bias"] = torch.zeros(1)
    with pytest.raises(ModelError, match=r"not known: attention_net\.2\.attention_c\.bias"):
        imported(tmp_path, weights, "clam_sb")
    with pytest.raises(ModelError, match="twice, under different prefixes"):
        imported(tmp_path, {"a.weight": torch.zeros(1), "module.a.weight": torch.zeros(1)}, "clam_sb")


def test_one_sigmoid_output_is_the_second_of_two_classes(
    tmp_path: Path, make_grid: Callable, make_bag: Callable
) -> None:
    weights = published.draw(published.dsmil_shapes(True, False, classes=1))
    made = imported(tmp_path, weights, "dsmil")
    assert made.model.classes == 2 and "sigmoid is the probability of the second class" in made.assumed
    bag = make_bag(make_grid(3, 4, made.model.magnifications), made.model.in_features)
    logits = made.model(bag).logits
    features = torch.from_numpy(bag.arrays[0])
    assert logits[0] == 0 and logits[1] != 0
    torch.testing.assert_close(logits[1:], published.dsmil(weights, features, True, False)[0])


@pytest.mark.parametrize("name", ORIGINS)
def test_with_a_first_class_the_answer_is_the_same(
    name: str, make_grid: Callable, make_bag: Callable
) -> None:
    torch.manual_seed(0)
    scales = (5.0, 10.0, 20.0) if name == "zoommil" else (20.0,)
    one, two = (create(name, 6, classes, scales).eval() for classes in (1, 2))
    two.load_state_dict(_with_first_class(one.state_dict(), one, two))
    bag = make_bag(make_grid(3, 4, scales), 6)
    with torch.no_grad():
        alone, both = one(bag).logits, two(bag).logits
    assert both[0] == 0 and alone[0] != 0
    torch.testing.assert_close(both.softmax(0)[1:], alone.sigmoid())


def test_other_magnifications_than_the_model_reads_are_refused(tmp_path: Path) -> None:
    weights = published.draw(published.zoommil_shapes())
    with pytest.raises(ModelError, match="reads 3 magnifications, not 5x, 10x"):
        imported(tmp_path, weights, "zoommil", magnifications=(5, 10))


class Proof:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    weights = published.draw(published.clam_shapes(2, False))
    torch.save({"state_dict": weights, "arguments": Proof(tmp_path / "ran")}, tmp_path / "a.ckpt")
    with (tmp_path / "b.pt").open("wb") as file:
        pickle.dump(Proof(tmp_path / "ran"), file)
    for name in ("a.ckpt", "b.pt"):
        with pytest.raises(ModelError, match="would run code: it is not read"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "is no checkpoint; give a file that ends in"),
        ("a.pt", b"not a checkpoint", "damaged"),
        ("a.pt", b"", "cannot be read"),
        ("a.safetensors", b"\xff" * 40, "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=said):
        read_checkpoint(tmp_path / name)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    for content in ([torch.zeros(1)], {"state_dict": {"epoch": 3}}, {"loss": 1.0}):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(ModelError, match="holds no weights by name"):
            read_checkpoint(tmp_path / "a.pt")
    with pytest.raises(ModelError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "none.pt")


def test_a_folder_must_hold_one_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must hold one checkpoint, but holds none"):
        read_checkpoint(tmp_path)
    for name in ("a.pt", "b.pt"):
        torch.save({"a.weight": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ModelError, match=r"holds a\.pt, b\.pt; give the file"):
        read_checkpoint(tmp_path)
    (tmp_path / "b.pt").unlink()
    assert read_checkpoint(tmp_path).file.name == "a.pt"
