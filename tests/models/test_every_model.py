"""What every model that reads features keeps to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.bags.need import answer
from napari_zoommil.models import create, names
from napari_zoommil.models.mil import MILModel
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression

CLASSES = ("normal", "tumour", "other")
LADDERS = {"one": [(20.0,)], "several": [(20.0,), (5.0, 10.0, 20.0)], "nested": [(5.0, 10.0, 20.0)]}
CASES = [
    (name, scales) for name in names() if entry(name).takes == "bag" for scales in LADDERS[entry(name).scales]
]
SMALL = {
    "hidden": 8, "attention": 6, "query": 6,
    "region": 8, "views": 1, "padding": "same", "width": 8, "strides": (2, 1),
}  # fmt: skip


def small(name: str, scales: tuple[float, ...], classes: int = 3, **options: Any) -> MILModel:
    torch.manual_seed(0)
    known = entry(name).config.__dataclass_fields__
    fitting = {one: value for one, value in SMALL.items() if one in known}
    model = create(name, 6, classes, scales, **fitting | options)
    model.task = Regression() if classes == 1 else Classification(CLASSES[:classes])
    return model


@pytest.mark.parametrize(("name", "scales"), CASES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_any_bag_gives_finite_losses_and_gradients(
    name: str, scales: Any, shape: Any, training: bool, make_grid: Callable, make_bag: Callable
) -> None:
    model = small(name, scales).train(training)
    bag = make_bag(make_grid(*shape, scales), 6)
    output = model(bag)
    losses = model.losses(output, torch.tensor(2), 0.5)
    assert output.logits.shape == (3,) and losses["bag"].ndim == 0
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    found = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert found and all(one.isfinite().all() for one in found)


@pytest.mark.parametrize(("name", "scales"), CASES)
def test_a_number_is_learnt_by_squared_error(
    name: str, scales: Any, make_grid: Callable, make_bag: Callable
) -> None:
    model = small(name, scales, 1)
    output = model(make_bag(make_grid(3, 4, scales), 6))
    losses = model.losses(output, torch.tensor(2.5), 0.5)
    torch.testing.assert_close(losses["bag"], (output.logits[0] - 2.5) ** 2)
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize(("name", "scales"), CASES)
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_scores_have_a_head_each(
    name: str, scales: Any, classes: int, make_grid: Callable, make_bag: Callable
) -> None:
    model = small(name, scales, classes).eval()
    output = model(make_bag(make_grid(3, 4, scales), 6))
    assert output.logits.shape == (classes,)
    assert output.steps, "each of these models scores its patches"
    for step in output.steps:
        assert step.scores.shape[0] == len(step.rows) and step.scores.isfinite().all()
        assert 1 <= step.scores.shape[1] <= len(model.heads)
    assert max(step.scores.shape[1] for step in output.steps) == len(model.heads) == len(set(model.heads))


NO_SUM = ("transmil", "sparseconvmil", "nic")
"""Models whose logits are no sum over patches."""


@pytest.mark.parametrize(("name", "scales"), CASES)
def test_evidence_sums_to_the_logits_less_a_constant(
    name: str, scales: Any, make_grid: Callable, make_bag: Callable
) -> None:
    model, grid = small(name, scales).eval(), make_grid(3, 4, scales)
    rest = []
    for seed in range(3):
        output = model(make_bag(grid, 6, seed))
        assert all((step.evidence is None) == (name in NO_SUM) for step in output.steps)
        if name in NO_SUM:
            return
        rest.append(output.logits - sum(step.evidence.sum(0) for step in output.steps))
    torch.testing.assert_close(rest[0], rest[1])
    torch.testing.assert_close(rest[0], rest[2])


@pytest.mark.parametrize(("name", "scales"), CASES)
def test_a_preview_is_what_the_pass_finds(
    name: str, scales: Any, make_grid: Callable, make_bag: Callable
) -> None:
    model, bag = small(name, scales).eval(), make_bag(make_grid(3, 4, scales), 6)
    steps, previews = model.steps(bag.grid), {}
    try:
        need = next(steps)
        while True:
            given = answer(bag, need)
            if need.preview is not None:
                previews[need.level] = need.rows, need.preview(given[:5])
            need = steps.send(given)
    except StopIteration as end:
        output = end.value
    for step in output.steps:
        if step.level in previews:
            rows, shown = previews[step.level]
            np.testing.assert_array_equal(rows, step.rows)
            torch.testing.assert_close(shown, step.scores[: len(shown), : shown.shape[1]])


@pytest.mark.parametrize(("name", "scales"), CASES)
def test_a_model_is_built_again_from_its_configuration(
    name: str, scales: Any, make_grid: Callable, make_bag: Callable
) -> None:
    model = small(name, scales).eval()
    again = create(name, **model.config()).eval()
    again.load_state_dict(model.state_dict())
    bag = make_bag(make_grid(3, 4, scales), 6)
    assert torch.equal(model(bag).logits, again(bag).logits)


@pytest.mark.parametrize("name", ["abmil", "clam_sb", "clam_mb", "dsmil", "maxmil", "meanmil"])
def test_the_order_of_patches_does_not_matter(name: str, make_grid: Callable, make_bag: Callable) -> None:
    model = small(name, (20.0,)).eval()
    bag = make_bag(make_grid(5, 6, (20.0,)), 6)
    order = np.random.default_rng(1).permutation(30)
    turned = replace(bag, arrays=(bag.arrays[0][order],))
    one, other = model(bag), model(turned)
    torch.testing.assert_close(one.logits, other.logits)
    torch.testing.assert_close(one.steps[0].scores[order], other.steps[0].scores)
    for label in range(3):
        losses = [model.losses(output, torch.tensor(label), 0) for output in (one, other)]
        assert losses[0].keys() == losses[1].keys()
        for key in losses[0]:
            torch.testing.assert_close(losses[0][key], losses[1][key])
