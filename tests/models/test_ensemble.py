from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.bags.need import Need, answer
from napari_zoommil.errors import ModelError
from napari_zoommil.models import create, names
from napari_zoommil.models.ensemble import Ensemble
from napari_zoommil.models.mil import MILModel
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression

SCALES = {"one": (20.0,), "several": (5.0, 10.0, 20.0), "nested": (5.0, 10.0, 20.0)}
BAGS = [name for name in names() if entry(name).takes == "bag"]
TASK = Classification(("normal", "tumour", "other"))
SMALL: dict[str, Any] = {
    "hidden": 8, "attention": 8, "query": 8,
    "region": 8, "views": 1, "padding": "same", "width": 8, "strides": (2, 1),
}  # fmt: skip


def member(name: str, seed: int, classes: int = 3, **options: Any) -> MILModel:
    torch.manual_seed(seed)
    known = entry(name).config.__dataclass_fields__
    small = {one: value for one, value in SMALL.items() if one in known}
    made = create(name, 6, classes, SCALES[entry(name).scales], **small | options).eval()
    made.task = Classification(TASK.names, 1.0 + seed) if classes == 3 else Regression("mm", scale=2.0 + seed)
    return made


@pytest.mark.parametrize("name", BAGS)
def test_outputs_are_the_mean_and_evidence_stays_a_sum(
    name: str, make_grid: Callable, make_bag: Callable
) -> None:
    members = [member(name, seed) for seed in (0, 1)]
    together = Ensemble.of(members, TASK)
    bag = make_bag(make_grid(4, 5, together.magnifications), 6)
    alone, output = [one(bag) for one in members], together(bag)
    torch.testing.assert_close(output.logits, (alone[0].logits + alone[1].logits / 2) / 2)
    assert together.heads == members[0].heads and together.reads_all == members[0].reads_all
    for step in output.steps:
        own = [one for result in alone for one in result.steps if one.level == step.level]
        assert set(step.rows.tolist()) == {row for one in own for row in one.rows.tolist()}
        assert set(step.zoomed.tolist()) == {row for one in own for row in one.zoomed.tolist()}
        assert step.scores.shape == (len(step.rows), own[0].scores.shape[1])
        assert step.scores.isfinite().all()
        if step.evidence is None:
            assert own[0].evidence is None
            continue
        parts = [one.evidence.sum(0) / factor / 2 for one, factor in zip(own, (1, 2), strict=True)]
        torch.testing.assert_close(step.evidence.sum(0), sum(parts))


@pytest.mark.parametrize("name", BAGS)
def test_of_equal_members_it_is_the_member(name: str, make_grid: Callable, make_bag: Callable) -> None:
    one = member(name, 0)
    bag = make_bag(make_grid(4, 5, one.magnifications), 6)
    output, expected = Ensemble.of([one, one, one], TASK)(bag), one(bag)
    torch.testing.assert_close(output.logits, expected.logits)
    for found, step in zip(output.steps, sorted(expected.steps, key=lambda step: step.level), strict=True):
        order = np.argsort(step.rows)
        np.testing.assert_array_equal(found.rows, step.rows[order])
        for head, (scores, own) in enumerate(zip(found.scores.T, step.scores[order].T, strict=True)):
            if one.heads[head].startswith("instance "):
                torch.testing.assert_close(scores, own)
            else:
                torch.testing.assert_close(scores.softmax(0), own.softmax(0))
                assert float(scores.logsumexp(0).exp().detach()) == pytest.approx(len(scores), rel=1e-4)


@pytest.mark.parametrize("name", ["zoommil", "abmil", "msmil"])
def test_what_several_members_ask_for_is_asked_for_once(
    name: str, make_grid: Callable, make_bag: Callable
) -> None:
    together = Ensemble.of([member(name, seed) for seed in range(3)], TASK)
    grid = make_grid(6, 6, together.magnifications)
    bag, steps, asked = make_bag(grid, 6), together.steps(grid), []
    need = next(steps)
    with pytest.raises(StopIteration):
        while True:
            assert isinstance(need, Need) and len(np.unique(need.rows)) == len(need.rows)
            asked.append(need.level)
            need = steps.send(answer(bag, need))
    assert asked == sorted(set(asked))


def test_numbers_of_members_with_other_scales_are_averaged(make_grid: Callable, make_bag: Callable) -> None:
    members = [member("abmil", seed, 1) for seed in (0, 1)]
    task = Regression("mm", offset=1.0, scale=3.0)
    bag = make_bag(make_grid(3, 3, (20.0,)), 6)
    values = [one.task.link(one(bag).logits) for one in members]
    torch.testing.assert_close(task.link(Ensemble.of(members, task)(bag).logits), sum(values) / 2)


def test_it_is_built_again_from_its_configuration(make_grid: Callable, make_bag: Callable) -> None:
    together = Ensemble.of([member("zoommil", seed, k=(1, 2)) for seed in (0, 1)], TASK)
    again = create("ensemble", **together.config()).eval()
    again.load_state_dict(together.state_dict())
    bag = make_bag(make_grid(4, 5, together.magnifications), 6)
    assert torch.equal(together(bag).logits, again(bag).logits)


def test_the_temperature_divides_outputs() -> None:
    logits = torch.tensor([2.0, 0.0])
    torch.testing.assert_close(
        Classification(("a", "b"), 2.0).link(logits), torch.tensor([1.0, 0.0]).softmax(0)
    )
    assert Classification(("a", "b"), 2.0) == Classification(("a", "b")), "what is told apart is the same"


def test_it_is_not_trained() -> None:
    assert "ensemble" not in names()
    with pytest.raises(ModelError, match="made of trained models"):
        entry("ensemble").recipe()
    with pytest.raises(ModelError, match="cannot be made of ensembles"):
        create("ensemble", 6, 3, (20.0,), member="ensemble")
