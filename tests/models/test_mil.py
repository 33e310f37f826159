from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.errors import MagnificationError, ModelError
from napari_zoommil.models import create, names
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, drain
from napari_zoommil.models.registry import entry


def test_drain_answers_each_need_in_turn() -> None:
    def steps() -> Pass:
        first = yield Need(0, np.arange(2))
        second = yield Need(1, np.arange(3))
        return MILOutput(torch.stack([first.sum(), second.sum()]), ())

    output = drain(steps(), lambda need: torch.full((len(need.rows),), float(need.level + 1)))
    assert output.logits.tolist() == [2, 6]


def test_create_knows_every_name() -> None:
    for name in names():
        model = create(name, in_features=4, classes=2)
        assert (model.name, model.magnifications, model.in_features) == (
            name,
            entry(name).magnifications(),
            4,
        )
        again = create(name, **model.config())
        assert again.config() == model.config()


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"heads": 3}, ModelError, "heads"),
        ({"magnifications": (5,)}, ModelError, "two magnifications"),
        ({"magnifications": (5, 12)}, MagnificationError, "whole factors"),
        ({"k": (1, 2)}, ModelError, "positive values of k"),
        ({"k": 0}, ModelError, "k = 0: Input should be greater"),
        ({"classifier": "tree"}, ModelError, "classifier = 'tree': .*'linear' or 'mlp'"),
        ({"topk": "soft"}, ModelError, "topk = 'soft'"),
        ({"hidden": -1}, ModelError, "hidden = -1: Input should be greater"),
        ({"k": "many"}, ModelError, "k = 'many'"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        create("zoommil", **{"magnifications": (5, 10), **config})


def test_an_unknown_model_says_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"no model 'zoomil'; choose one of .*zoommil"):
        create("zoomil")


def test_a_grid_of_other_magnifications_is_refused(make_grid: Callable, make_bag: Callable) -> None:
    model = create("zoommil", in_features=4, magnifications=(5, 10), k=2)
    with pytest.raises(ModelError, match="reads 5x, 10x, but the patches are at 5x, 20x"):
        model(make_bag(make_grid(2, 2, (5.0, 20.0)), 4))


def test_patches_and_features_of_something_else_are_refused(make_grid: Callable, make_bag: Callable) -> None:
    model = create("zoommil", in_features=4, magnifications=(5, 10), k=2).eval()
    grid = make_grid(2, 2, (5.0, 10.0), patch_size=8)
    bag = replace(make_bag(grid, 4), encoder_hash="a" * 16)
    free = model(bag).logits
    model.patch_size, model.encoder_hash = 8, "a" * 16
    assert torch.equal(model(bag).logits, free)
    assert torch.equal(model(replace(bag, encoder_hash="")).logits, free), "nobody says whose they are"
    with pytest.raises(ModelError, match=r"features of the encoder a{16}, but these are from b{16}"):
        model(replace(bag, encoder_hash="b" * 16))
    with pytest.raises(ModelError, match="patches of 8 px, but these have 16 px"):
        model(replace(bag, grid=replace(grid, patch_size=16)))


def test_a_model_without_attention_says_so() -> None:
    class Blind(MILModel):
        name = "blind"

    with pytest.raises(ModelError, match="blind has no attention over patches"):
        Blind.attention_logits(Blind.__new__(Blind), 0, torch.zeros(1, 4))
