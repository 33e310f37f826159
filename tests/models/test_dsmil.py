from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_zoommil.models import create
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression

SCALES = (5.0, 10.0, 20.0)


def small(classes: int = 3, scales: tuple[float, ...] = (20.0,), **options: Any) -> Any:
    torch.manual_seed(0)
    return create("dsmil", 6, classes, scales, query=5, **options).eval()


def test_the_published_size() -> None:
    assert sum(weight.numel() for weight in create("dsmil", 1024, 1).parameters()) == 149_762


@pytest.mark.parametrize("classes", [1, 3])
def test_it_is_the_equations(classes: int, make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small(classes), make_bag(make_grid(3, 4, (20.0,)), 6)
    features, weight = torch.from_numpy(bag.arrays[0]), model.bag.weight
    instance = features @ model.instance.weight.T + model.instance.bias
    first, second = model.query[0], model.query[2]
    query = torch.tanh(second(F.relu(first(features))))
    bags = []
    for column in instance.T:
        critical = query[int(column.argmax())]
        shares = torch.softmax(query @ critical / 5**0.5, 0)
        bags.append(shares @ features)
    logits = torch.stack([(weight[c] * torch.stack(bags)).sum() for c in range(classes)]) + model.bag.bias
    output = model(bag)
    torch.testing.assert_close(output.logits, logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.steps[0].scores[:, classes:], instance, atol=1e-5, rtol=0)


@pytest.mark.parametrize("values", ["identity", "linear"])
@pytest.mark.parametrize("queries", ["mlp", "linear"])
def test_it_is_that_of_torchmil(queries: str, values: str, make_grid: Callable, make_bag: Callable) -> None:
    """torchmil has one output; it predicts by the mean of both streams, which the authors do not."""
    models = pytest.importorskip("torchmil.models")
    ours = small(1, queries=queries, values=values)
    theirs = models.DSMIL(
        (6,), att_dim=5, nonlinear_q=queries == "mlp", nonlinear_v=values == "linear"
    ).eval()
    query = ours.query if queries == "mlp" else ours.query[0]
    theirs.q_nn.load_state_dict(query.state_dict())
    theirs.v_nn.load_state_dict(ours.value.state_dict())
    theirs.inst_classifier.load_state_dict(ours.instance.state_dict())
    bag_classifier = {"weight": ours.bag.weight[0], "bias": ours.bag.bias}
    theirs.bag_classifier.load_state_dict(bag_classifier)
    bag = make_bag(make_grid(5, 8, (20.0,)), 6)
    with torch.no_grad():
        features = torch.from_numpy(bag.arrays[0])[None]
        logit, shares, instance = theirs(features, return_att=True, return_inst_pred=True)
        output = ours(bag)
    scores = output.steps[0].scores
    torch.testing.assert_close(output.logits, logit, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores[:, 0].softmax(0), shares[0, :, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores[:, 1], instance[0], atol=1e-5, rtol=0)


def test_magnifications_are_concatenated(make_grid: Callable, make_bag: Callable) -> None:
    """Each patch of the highest magnification has the features of those it lies in."""
    grid = make_grid(2, 3, SCALES, keep=0.6)
    model, bag = small(2, SCALES), make_bag(grid, 6)
    middle = grid.levels[2].parent
    low = grid.levels[1].parent[middle]
    arrays = bag.arrays
    expected = np.concatenate([arrays[0][low], arrays[1][middle], arrays[2]], 1)
    (step,) = model(bag).steps
    assert step.level == 2 and len(step.rows) == len(grid.levels[2])
    np.testing.assert_array_equal(step.embeddings.numpy(), expected)
    assert model.instance.weight.shape == (2, 18)


@pytest.mark.parametrize("loss", ["task", "bce"])
def test_both_streams_have_a_loss(loss: Any, make_grid: Callable, make_bag: Callable) -> None:
    model = small(3, loss=loss)
    output, target = model(make_bag(make_grid(3, 4, (20.0,)), 6)), torch.tensor(1)
    largest = output.steps[0].scores[:, 3:].max(0).values

    def expected(logits: torch.Tensor) -> torch.Tensor:
        if loss == "bce":
            return F.binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 1.0, 0.0]))
        return F.cross_entropy(logits[None], target[None])

    found = model.losses(output, target, 0)
    torch.testing.assert_close(found["bag"], expected(output.logits))
    torch.testing.assert_close(found["instance"], expected(largest))


def test_a_number_has_its_own_loss(make_grid: Callable, make_bag: Callable) -> None:
    model = small(1, loss="bce")
    model.task = Regression(offset=2.0, scale=3.0)
    output = model(make_bag(make_grid(2, 2, (20.0,)), 6))
    found = model.losses(output, torch.tensor(5.0), 0)
    torch.testing.assert_close(found["bag"], (output.logits[0] - 1) ** 2)
    assert model.heads == ("value", "instance value")


def test_heads_are_attention_and_instances_of_each_class() -> None:
    model = small(2)
    model.task = Classification(("normal", "tumour"))
    assert model.heads == ("normal", "tumour", "instance normal", "instance tumour")


def test_its_recipes() -> None:
    found = entry("dsmil").recipes
    default = found["default"]
    assert (default.learning_rate, default.weight_decay, default.least_rate) == (1e-4, 1e-3, 5e-6)
    assert default.optimizer_options == {"betas": (0.5, 0.9)} and default.schedule == "cosine"
    assert entry("dsmil").magnifications(default) == (20.0,)
    assert found["bright"].magnifications == (1.25, 2.5, 10.0) and found["bright"].schedule == "plateau"
    assert all(one.loss_weights == {"bag": 0.5, "instance": 0.5} for one in found.values())
