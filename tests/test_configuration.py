"""Whatever stands in a configuration, it is read or refused in a sentence."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, MinLen

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import load_cell_model
from napari_zoommil.cells.spec import read_cell_model
from napari_zoommil.configuration import LONGEST, check_arguments, parsed
from napari_zoommil.errors import ModelError
from napari_zoommil.model_folder import CONFIG, kind_of
from napari_zoommil.models import create
from napari_zoommil.models.spec import ModelSpec, load_model, read_spec, save_model

NAN = float("nan")


@dataclass(frozen=True)
class Stated:
    name: str
    classes: Annotated[tuple[CellClass, ...], MinLen(1)]
    size: Annotated[int, Ge(1)] = 1
    share: float | None = None
    mode: Literal["a", "b"] = "a"
    more: dict[str, Any] = field(default_factory=dict)


GOOD = {"name": "x", "classes": [{"name": "cell", "colour": [1, 2, 3], "diameter_um": 8}]}


def test_a_dataclass_comes_back_and_unknown_entries_are_left_out() -> None:
    found = parsed(Stated, {**GOOD, "share": 1, "later": 3, "more": {"a": [1]}})
    assert found == Stated("x", (CellClass("cell", (1, 2, 3), 8.0),), share=1.0, more={"a": [1]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "name should be a valid string, not 3"),
        ({"size": "3"}, "size should be a valid integer, not '3'"),
        ({"size": True}, "size should be a valid integer, not True"),
        ({"size": 0}, "size should be greater than or equal to 1, not 0"),
        ({"share": "half", "size": 2.5}, "size should be a valid integer, not 2.5; share should be"),
        ({"mode": "c"}, "mode should be 'a' or 'b', not 'c'"),
        ({"classes": "ab"}, "classes should be a valid array, not 'ab'"),
        ({"classes": [{"name": "a"}]}, "classes[0].colour is missing"),
        ({"classes": [{"name": " ", "colour": [1, 2, 3]}]}, "a class needs a name"),
        ({"classes": []}, "classes: Tuple should have at least 1 item"),
        ({"more": [1] * 99}, "more should be an object, not [1, 1"),
    ],
)
def test_each_wrong_entry_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parsed(Stated, {**GOOD, **change})
    assert str(caught.value).startswith(said) and len(str(caught.value)) < 2 * LONGEST + 60


@pytest.mark.parametrize("content", [None, [], 3, "text", {}])
def test_what_is_no_table_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match=r"should be an object|name is missing; classes is missing"):
        parsed(Stated, content)


def test_arguments_are_those_of_the_annotations() -> None:
    def network(width: Annotated[int, Ge(1)], sizes: tuple[float, float] = (1.0, 2.0)) -> None: ...

    check_arguments(network, {"width": 3, "sizes": (1, 2), "unknown": 3})
    with pytest.raises(ValueError, match=r"width should be greater.*; sizes\[1\] should be a valid number"):
        check_arguments(network, {"width": 0, "sizes": [1, "2"]})


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**12, 10**400, 0.5, -0.5, 1e300, NAN, float("inf"), "", "half", "5",
    "\ud800", [], [[]], [None], [NAN], [-1], ["x"], [5, 10, 20], {}, {"a": {"b": [1]}}, [{"name": 3}],
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def mutations(content: dict[str, Any], count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Documents with one to three wrong, missing, nested or additional entries."""
    draw = random.Random(0)
    for _ in range(count):
        made, said = copy.deepcopy(content), []
        for _ in range(draw.choice((1, 1, 2, 3))):
            path = draw.choice([*places(made), ("later",)])
            holder = made
            for key in path[:-1]:
                holder = holder[key]
            value = copy.deepcopy(draw.choice(VALUES))
            if draw.random() < 0.2 and path != ("later",):
                del holder[path[-1]]
                said.append(f"without {path}")
            else:
                wrapped = draw.random() < 0.1 and path != ("later",)
                holder[path[-1]] = [holder[path[-1]]] if wrapped else value
                said.append(f"{path} = {holder[path[-1]]!r:.60}")
            if not made:
                break
        yield "; ".join(said), made


@pytest.fixture
def mil_model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    options = {"k": 3, "hidden": 8, "attention": 4}
    model = create("zoommil", in_features=4, classes=2, magnifications=(5, 10), **options)
    spec = ModelSpec("zoommil", model.config(), "mean-rgb", "0" * 16, 128, ("benign", "tumour"))
    save_model(tmp_path / "mil", model, spec, "# A model\n")
    return tmp_path / "mil"


def told(folder: Path, readers: tuple[Callable[[Path], Any], ...], count: int = 250) -> dict[str, int]:
    """Read mutated configurations; how many were read and refused."""
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    found = {"read": 0, "refused": 0}
    for said, made in mutations(content, count):
        (folder / CONFIG).write_text(json.dumps(made), encoding="utf-8")
        assert kind_of(folder) in ("mil", "cells", "encoder"), said
        for reader in readers:
            try:
                reader(folder)
                found["read"] += 1
            except ModelError as error:
                assert str(folder) in str(error) and "\n" not in str(error) and len(str(error)) < 1000, said
                found["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{said}: {error!r}") from error
    return found


def test_a_mil_model_with_a_wrong_configuration(mil_model: Path) -> None:
    found = told(mil_model, (read_spec, load_model))
    assert found["read"] > 40 and found["refused"] > 200


@pytest.mark.parametrize(("architecture", "config"), [("yollo", {}), ("unet", {"padding": "same"})])
def test_a_cell_model_with_a_wrong_configuration(
    make_cell_model: Callable[..., str], architecture: str, config: dict[str, Any]
) -> None:
    found = told(Path(make_cell_model(architecture, 2, **config)), (read_cell_model, load_cell_model))
    assert found["read"] > 40 and found["refused"] > 200


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("hidden", -1, "malformed"),
        ("hidden", 10**9, "malformed .*hidden"),
        ("hidden", 60_000, "do not fit .* where .* is needed"),
        ("dropout", 7, "malformed"),
        ("magnifications", ["x"], "config.magnifications: could not convert"),
        ("magnifications", [5, 7], "config.magnifications: magnifications must rise"),
        ("magnifications", [NAN], "config.magnifications: give one magnification above 0"),
    ],
)
def test_what_no_network_can_be_made_of(mil_model: Path, place: str, value: Any, said: str) -> None:
    content = json.loads((mil_model / CONFIG).read_text(encoding="utf-8"))
    content["config"][place] = value
    (mil_model / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        load_model(mil_model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"magnifications": 3}, None),
        ({"patch_size": "big"}, "patch_size should be a valid integer, not 'big'"),
        ({"patch_size": -5}, "patch_size should be greater than or equal to 0, not -5"),
        ({"min_tissue": None}, "min_tissue should be a valid number, not None"),
        ({"class_names": "ab"}, "class_names should be a valid array, not 'ab'"),
        ({"made_by": "a later version"}, None),
    ],
)
def test_wrong_entries_of_a_mil_model(mil_model: Path, change: dict[str, Any], said: str | None) -> None:
    content = json.loads((mil_model / CONFIG).read_text(encoding="utf-8"))
    (mil_model / CONFIG).write_text(json.dumps(content | change), encoding="utf-8")
    if said is None:
        assert load_model(mil_model)[1].class_names == ("benign", "tumour")
        return
    with pytest.raises(ModelError) as caught:
        read_spec(mil_model)
    assert f"{CONFIG} is missing or malformed ({said})" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mpp": "half"}, "mpp should be a valid number, not 'half'"),
        ({"mpp": 0}, "mpp should be greater than or equal to 0.02, not 0"),
        ({"threshold": None}, "threshold should be a valid number, not None"),
        ({"threshold": NAN}, "threshold should be less than or equal to 1, not nan"),
        ({"classes": []}, "classes: Tuple should have at least 1 item"),
    ],
)
def test_wrong_entries_of_a_cell_model(
    make_cell_model: Callable[..., str], change: dict[str, Any], said: str
) -> None:
    folder = Path(make_cell_model())
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps(content | change), encoding="utf-8")
    for reader in (read_cell_model, load_cell_model):
        with pytest.raises(ModelError) as caught:
            reader(folder)
        assert f"({said}" in str(caught.value)


def test_as_many_classes_are_named_as_a_cell_model_tells_apart(make_cell_model: Callable[..., str]) -> None:
    folder = Path(make_cell_model())
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    content["classes"].append(content["classes"][0] | {"name": "other"})
    (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="names 2 classes, but its model has 1"):
        load_cell_model(folder)


def test_random_numbers_go_on_as_if_no_model_was_loaded(mil_model: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_model(mil_model)
    assert torch.rand(1) == expected
