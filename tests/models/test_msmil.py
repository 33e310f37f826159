from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.errors import ModelError
from napari_zoommil.maps.evidence import leave_one_out
from napari_zoommil.maps.gradcam import grad_cam
from napari_zoommil.models import create
from napari_zoommil.models.entries_network import MSMILOptions
from napari_zoommil.models.msmil import MSMIL, DomainBranch
from napari_zoommil.models.registry import entry

LADDER = (5.0, 10.0, 20.0)


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def small(magnifications: tuple[float, ...] = LADDER, **options) -> MSMIL:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return MSMIL(
        6, 3, magnifications, MSMILOptions(**{"hidden": 8, "attention": 5, "dropout": 0.0} | options)
    )


def test_parameter_counts() -> None:
    assert parameters(create("msmil")) == (1024 * 512 + 512) + (512 * 128 + 128) + 129 + (512 * 2 + 2)
    with torch.device("meta"):
        published = MSMIL(25_088, 2, (10,), MSMILOptions((2048, 512)))
    assert round(parameters(published) / 1e6, 1) == 52.5


def test_an_embedding_needs_a_layer() -> None:
    with pytest.raises(ModelError, match="msmil cannot be built: hidden needs one width or more"):
        create("msmil", hidden=())


@pytest.mark.parametrize("name", entry("msmil").recipes)
def test_the_models_of_recipes_build_and_rebuild(name: str) -> None:
    recipe = entry("msmil").recipe(name)
    model = create("msmil", magnifications=recipe.magnifications, **recipe.options)
    assert create("msmil", **model.config()).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("magnifications", [(10.0,), (5.0, 10.0), LADDER])
@pytest.mark.parametrize("hidden", [8, (7, 8)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 3), (1, 5), (3, 4)])
def test_one_attention_pools_the_patches_of_all_magnifications(
    make_grid: Callable,
    make_bag: Callable,
    magnifications: tuple[float, ...],
    hidden: int | tuple[int, ...],
    shape: tuple[int, int],
) -> None:
    model, bag = small(magnifications, hidden=hidden).eval(), make_bag(make_grid(*shape, magnifications), 6)
    output, embedded = model(bag), []
    for features in torch.from_numpy(np.concatenate(bag.arrays)):
        for layer, *_ in model.embed:
            features = torch.relu(layer.weight @ features + layer.bias)
        embedded.append(features)
    inner, outer = model.attend.value[0], model.attend.score
    weights = [
        float((outer.weight @ torch.tanh(inner.weight @ one + inner.bias) + outer.bias).exp())
        for one in embedded
    ]
    pooled = sum(weight / sum(weights) * one for weight, one in zip(weights, embedded, strict=True))
    expected = model.classifier.weight @ pooled + model.classifier.bias
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=1e-5)

    assert [step.level for step in output.steps] == list(range(len(magnifications)))
    assert [len(step.rows) for step in output.steps] == [len(level) for level in bag.grid.levels]
    shares = torch.cat([step.attention for step in output.steps]).softmax(0)
    torch.testing.assert_close(shares, torch.tensor(weights) / sum(weights), atol=1e-5, rtol=1e-4)
    added = sum(step.evidence.sum(0) for step in output.steps)
    torch.testing.assert_close(added, output.logits - model.classifier.bias, atol=1e-5, rtol=1e-4)
    for level, step in enumerate(output.steps):
        rest = None if step.rest is None else tuple(one.detach().numpy() for one in step.rest)
        assert (rest is None) == (len(magnifications) == 1)
        fall = leave_one_out(step.scores.detach().numpy().T, step.evidence.detach().numpy().T, rest)
        place = sum(len(one.rows) for one in output.steps[:level])
        kept = [n for n in range(len(weights)) if n != place]
        if not kept:
            continue
        without = sum(weights[n] * embedded[n] for n in kept) / sum(weights[n] for n in kept)
        lost = output.logits - (model.classifier.weight @ without + model.classifier.bias)
        np.testing.assert_allclose(fall[:, 0], lost.detach(), atol=1e-5, rtol=1e-3)
    assert all((cam != 0).any() for cam in grad_cam(output, 1).steps)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_bags_of_any_size_train(make_grid: Callable, make_bag: Callable, count: int) -> None:
    model, bag = small((10.0,), dropout=0.25).train(), make_bag(make_grid(1, count, (10.0,)), 6)
    model.losses(model(bag), torch.tensor(2), 0.0)["bag"].backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_the_preview_is_what_the_step_will_hold(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small().eval(), make_bag(make_grid(2, 2, LADDER), 6)
    previews, steps = [], model.steps(bag.grid)
    need = next(steps)
    try:
        while True:
            previews.append(need.preview(bag.features(need.level, need.rows)))
            need = steps.send(bag.features(need.level, need.rows))
    except StopIteration as stop:
        for preview, step in zip(previews, stop.value.steps, strict=True):
            torch.testing.assert_close(preview, step.scores)
    torch.testing.assert_close(previews[1], model.attention_logits(1, torch.from_numpy(bag.arrays[1])))


def test_the_domain_branch_is_an_option_and_no_part_of_the_model() -> None:
    assert small().auxiliary(4) is None
    model = small(adversarial=0.001)
    branch = model.auxiliary(4)
    assert isinstance(branch, DomainBranch) and branch.classify[-1].out_features == 4
    assert model.state_dict().keys() == small().state_dict().keys()


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_gradient_of_the_domain_branch_is_reversed_and_scaled(
    make_grid: Callable, make_bag: Callable, progress: float
) -> None:
    """Against the gradient without a reversal, of each patch's embedding."""
    model = small((5.0, 10.0), adversarial=0.01).train()
    branch, output = model.auxiliary(4), model(make_bag(make_grid(1, 2, (5.0, 10.0)), 6))
    assert branch is not None
    embeddings = [step.embeddings for step in output.steps]
    loss = branch(output, 2, progress)["domain"]
    own = torch.cat(torch.autograd.grad(loss, [*embeddings, branch.classify[0].weight])[:-1])
    whole = torch.cat(embeddings).detach().requires_grad_()
    logits = branch.classify(whole)
    expected = -logits.log_softmax(1)[:, 2].mean()
    torch.testing.assert_close(loss, expected)
    (plain,) = torch.autograd.grad(expected, whole)
    attention = torch.cat([step.attention for step in output.steps]).softmax(0)
    factor = 0.01 * (2 / (1 + math.exp(-10 * progress)) - 1) * (attention.max() - attention)
    torch.testing.assert_close(own, -factor[:, None] * plain)
    assert (own[attention.argmax()] == 0).all(), "what is attended most keeps what tells its slide"
