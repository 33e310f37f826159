from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from napari_zoommil.errors import ModelError
from napari_zoommil.maps.gradcam import grad_cam
from napari_zoommil.models import create
from napari_zoommil.models.entries_network import TransMILOptions
from napari_zoommil.models.transmil import LEAST_SHARE, TransMIL


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def small(landmarks: int = 4, classes: int = 3) -> TransMIL:
    torch.manual_seed(0)
    return TransMIL(6, classes, (20,), TransMILOptions(hidden=16, heads=2, landmarks=landmarks))


def of(make_grid: Callable, make_bag: Callable, count: int, dim: int = 6):  # type: ignore[no-untyped-def]
    return make_bag(make_grid(1, count, (20.0,)), dim)


def test_the_parameter_count_is_the_published_one() -> None:
    assert parameters(create("transmil", 1024, 2)) == 2_672_146


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ModelError, match="transmil cannot be built: hidden = 100 is no multiple of heads"):
        create("transmil", hidden=100)


def reference(model: TransMIL, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the class token's shares of each patch, (heads, patches), by loops."""
    embedded = torch.relu(features @ model.embed[0].weight.T + model.embed[0].bias)
    edge = math.ceil(math.sqrt(len(features)))
    tokens = [*embedded]
    while len(tokens) < edge**2:
        tokens.append(tokens[len(tokens) - len(features)])
    tokens = torch.cat([model.class_token, torch.stack(tokens)])
    tokens = tokens + model.first(model.norms[0](tokens))
    square = tokens[1:].view(edge, edge, -1).permute(2, 0, 1)[None]
    square = square + sum(convolution(square) for convolution in model.positions.convolutions)
    tokens = torch.cat([tokens[:1], square[0].permute(1, 2, 0).flatten(0, 1)])
    normed = model.norms[1](tokens)
    product = model.last.one(normed, 0)[1]
    logits = model.classifier(model.norm((tokens + model.last(normed))[0]))
    shares = torch.zeros(len(product), len(features), dtype=product.dtype)
    for place in range(edge**2):
        shares[:, place % len(features)] += product[:, 1 + place]
    return logits, shares


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 40])
def test_it_is_the_sequence_of_its_layers(make_grid: Callable, make_bag: Callable, count: int) -> None:
    model, bag = small().eval(), of(make_grid, make_bag, count)
    output = model(bag)
    logits, shares = reference(model, torch.from_numpy(bag.arrays[0]))
    torch.testing.assert_close(output.logits, logits, atol=1e-5, rtol=1e-5)
    (step,) = output.steps
    assert step.scores.shape == (count, 3) and model.heads == ("attention", "attention-1", "attention-2")
    np.testing.assert_array_equal(step.rows, np.arange(count))
    columns = torch.cat([shares.mean(0, keepdim=True), shares]).clamp(min=LEAST_SHARE / count)
    torch.testing.assert_close(step.scores.T.softmax(1), columns / columns.sum(1, keepdim=True))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 300])
@pytest.mark.parametrize("training", [True, False])
def test_bags_of_any_size_train(make_grid: Callable, make_bag: Callable, count: int, training: bool) -> None:
    model, bag = small(landmarks=16).train(training), of(make_grid, make_bag, count)
    output = model(bag)
    assert output.logits.isfinite().all() and output.steps[0].scores.isfinite().all()
    model.losses(output, torch.tensor(1), 0.0)["bag"].backward()
    slopes = [weight.grad for weight in model.parameters()]
    assert all(slope is not None and slope.isfinite().all() for slope in slopes)


class Largest(TorchDispatchMode):
    """Size of the largest tensor that is made, in values."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = function(*args, **kwargs or {})
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.size = max(self.size, one.numel())
        return made


def test_no_tensor_grows_faster_than_the_bag(make_grid: Callable, make_bag: Callable) -> None:
    model, sizes = small(landmarks=16).eval(), []
    for count in (1024, 4096):
        bag = of(make_grid, make_bag, count)
        with torch.no_grad(), Largest() as largest:
            model(bag)
        sizes.append(largest.size)
    assert sizes[0] < 1200 * 3 * 16 and sizes[1] < 4.2 * sizes[0]


def test_gradients_reach_the_embeddings(make_grid: Callable, make_bag: Callable) -> None:
    output = small().eval()(of(make_grid, make_bag, 7))
    (cam,) = grad_cam(output, 1).steps
    assert cam is not None and cam.shape == (7,) and (cam != 0).any()
    assert output.steps[0].evidence is None


def test_the_pass_is_that_of_torchmil_where_both_define_the_same(
    make_grid: Callable, make_bag: Callable
) -> None:
    """torchmil has no ReLU after the embedding, no convolution of values and no output weights of layers, and
    does not add the shares of repeated patches to those of the patches themselves."""
    torchmil = pytest.importorskip("torchmil.models")
    torch.manual_seed(0)
    theirs = torchmil.TransMIL((6,), att_dim=16, n_heads=2, n_landmarks=8).eval()
    ours = TransMIL(6, 1, (20,), TransMILOptions(hidden=16, heads=2, landmarks=8)).eval()
    with torch.no_grad():
        ours.embed[0].load_state_dict(theirs.fc1.state_dict())
        for linear in (ours.embed[0], theirs.fc1):
            linear.bias.fill_(20.0)  # so that no embedding is below 0
        ours.class_token.copy_(theirs.cls_token[0])
        for name, own in zip(("proj", "proj1", "proj2"), ours.positions.convolutions, strict=True):
            own.load_state_dict(getattr(theirs.pos_layer, name).state_dict())
        for norm, layer, other in zip(ours.norms, (ours.first, ours.last), theirs.layers, strict=True):
            norm.load_state_dict(other.norm1.state_dict())
            layer.project.load_state_dict(other.att_module.qkv_nn.state_dict())
            layer.nearby.weight.zero_()
            layer.out[0].weight.copy_(torch.eye(16))
            layer.out[0].bias.zero_()
        ours.norm.load_state_dict(theirs.norm.state_dict())
        ours.classifier.load_state_dict(theirs.classifier.state_dict())
        for count in (5, 9, 30):
            bag = of(make_grid, make_bag, count)
            features = torch.from_numpy(bag.arrays[0])
            logit, attention = theirs(features[None], return_att=True)
            output = ours(bag)
            torch.testing.assert_close(output.logits, logit, atol=1e-5, rtol=1e-5)
            if count == 9:  # a square number: nothing is repeated
                shares = attention[0].clamp(min=LEAST_SHARE / count)
                torch.testing.assert_close(output.steps[0].attention, shares.log(), atol=1e-4, rtol=1e-4)
