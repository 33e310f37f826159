"""Maps of the pixels of one patch: the whole chain through the encoder, and what has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.bags import LazyBag
from napari_zoommil.encoders.encoder import Encoder, Preprocessing
from napari_zoommil.encoders.networks import NICEncoder
from napari_zoommil.errors import ModelError
from napari_zoommil.maps import inside_patch
from napari_zoommil.maps.focus import Focus, MethodOptions
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.models.mil import MILOutput, Need

from .conftest import Pooled
from .test_methods import drained

PATCH = 5


def encoder_of(network: nn.Module, dim: int) -> Encoder:
    return Encoder("own", network, Preprocessing(64, (0.5,) * 3, (0.5,) * 3, "area"), dim, half=False)


@pytest.fixture
def on(bag_at: Callable, record: Callable) -> Callable:
    """A pass of a model over patches of an encoder, explained at a place."""

    def make(encoder: Encoder, model: Any = None, at: Any = None, **options: Any) -> Any:
        torch.manual_seed(0)
        model = model or Pooled(encoder.dim, 2).double().eval().requires_grad_(False)
        colours = bag_at(10.0)
        bag = LazyBag(colours.slide, colours.grid, encoder, workers=1)
        at = at or tuple(colours.grid.levels[0].origins[PATCH] + 10)
        return replace(record(model, bag), focus=Focus(at=at), options=MethodOptions(**options))

    return make


@pytest.fixture
def nic() -> Encoder:
    torch.manual_seed(1)
    return encoder_of(NICEncoder(16, 6), 6)


def whole_chain(recorded: Any, through: Callable[[Any], torch.Tensor]) -> list[torch.Tensor]:
    """Gradients of the outputs by a tensor of the encoder's pass of the patch, by autograd alone."""
    place = inside_patch.place_of(recorded)
    encoder = recorded.bag.encoder
    pixels = inside_patch._pixels(recorded, place)
    images = encoder.preprocessing(torch.from_numpy(pixels)).requires_grad_()
    activation, features = through(images)
    every = recorded.answers[0].clone()
    every[place.row] = features[0]
    with torch.enable_grad():
        pooled = recorded.model
        embeddings = pooled.embed(every.double())
        shares = (20 * pooled.attend(embeddings)[:, 0]).softmax(0)
        logits = pooled.classify(shares @ embeddings)
    return [(torch.autograd.grad(one, activation, retain_graph=True)[0], activation) for one in logits]


def test_grad_cam_is_that_of_the_model_through_the_encoder(on: Callable, nic: Encoder) -> None:
    recorded = on(nic)
    told, found = drained(METHODS["grad-cam"].load(inside=True)(recorded))
    assert [name for _, _, name in told] == list(recorded.names)

    def through(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = nic.network.features[0](images)
        rest = nic.network.features[1:](first)
        return first, nic.network.code(rest.flatten(1))

    for one, (gradient, activation) in zip(found.maps, whole_chain(recorded, through), strict=True):
        expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1)[0].detach()
        assert one.values.shape == (31, 31), "64 px → 31, the last layer with 16 or more"
        np.testing.assert_allclose(one.values, expected, rtol=1e-3, atol=1e-6)
    place, level = inside_patch.place_of(recorded), recorded.grid.levels[0]
    np.testing.assert_allclose(found.maps[0].origin, level.origins[place.row])
    np.testing.assert_allclose(np.array(found.maps[0].downsample) * 31, level.size)
    assert found.patches == ()


def test_a_layer_by_name_and_only_what_speaks_for_it(on: Callable, nic: Encoder) -> None:
    _, found = drained(inside_patch.grad_cam(on(nic, layer="features.1")))
    assert found.maps[0].values.shape == (15, 15) and found.maps[0].values.min() < 0
    _, positive = drained(inside_patch.grad_cam(on(nic, layer="features.1", relu=True)))
    np.testing.assert_allclose(positive.maps[0].values, found.maps[0].values.clip(0))
    with pytest.raises(ModelError, match=r"no layer 'blocks' with a map; it has features\.0\.0, features"):
        drained(inside_patch.grad_cam(on(nic, layer="blocks")))


@pytest.mark.parametrize("rms", [False, True])
def test_saliency_is_the_gradient_of_the_pixels(on: Callable, nic: Encoder, rms: bool) -> None:
    recorded = on(nic, rms=rms)
    _, found = drained(inside_patch.saliency(recorded))
    chained = whole_chain(recorded, lambda images: (images, nic.network(images)))
    for one, (gradient, _) in zip(found.maps, chained, strict=True):
        expected = gradient[0].square().mean(0).sqrt() if rms else gradient[0].abs().amax(0)
        np.testing.assert_allclose(one.values, expected, rtol=1e-3, atol=1e-8)


def test_occlusion_covers_one_box_after_the_other(on: Callable, nic: Encoder) -> None:
    recorded = on(nic, boxes=2)
    told, found = drained(inside_patch.occlusion(recorded))
    place = inside_patch.place_of(recorded)
    pixels = inside_patch._pixels(recorded, place).copy()
    pixels[:, 16:, :16] = recorded.bag.slide.background
    recorded.bag.features(0, np.array([place.row]))[:] = 0
    every = recorded.answers[0].clone()
    every[place.row] = nic(pixels)[0]
    need = recorded.needs[0]
    from napari_zoommil.maps.occlusion import with_answers

    expected = recorded.output.logits - with_answers(recorded, [every]).logits
    np.testing.assert_allclose([one.values[1, 0] for one in found.maps], expected, atol=1e-6)
    assert len(need.rows) == len(every) and {total for _, total, _ in told} == {4}


class Turned(Pooled):
    """A model that reads patches as they are, and turned."""

    def steps(self, grid):  # type: ignore[no-untyped-def]
        rows = np.arange(len(grid.levels[0]))
        plain = yield Need(0, rows)
        other = yield Need(0, rows, variant=5)
        return MILOutput(self.classify(self.embed((plain + other).double()).mean(0)))


def test_views_on_a_patch_are_turned_back(on: Callable) -> None:
    class TopLeft(nn.Module):
        def forward(self, images):  # type: ignore[no-untyped-def]
            return images[:, :, :16, :16].mean((2, 3))

    torch.manual_seed(0)
    model = Turned(3, 2).double().eval().requires_grad_(False)
    _, found = drained(inside_patch.saliency(on(encoder_of(TopLeft(), 3), model)))
    values = found.maps[0].values > 0
    assert values[:16, :16].all() and values.sum() == 2 * 16 * 16
    corner = np.zeros((1, 64, 64, 3), np.uint8)
    corner[:, :16, :16] = 1
    from napari_zoommil.encoders.turned import turned, turned_back

    for variant in range(8):
        seen = turned(corner, variant)[0, :, :, 0]
        np.testing.assert_array_equal(turned_back(seen, variant), corner[0, :, :, 0])
    assert values[turned_back(corner[0, :, :, 0] > 0, 5)].all()


def test_what_cannot_be_looked_into_is_told_with_what_can(on: Callable, nic: Encoder) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(3, 4)

        def forward(self, images):  # type: ignore[no-untyped-def]
            return self.embed(images.flatten(2).transpose(1, 2)).mean(1)

    with pytest.raises(ModelError, match="keeps 16 × 16 places of a patch, as with transformers; choose sal"):
        drained(inside_patch.grad_cam(on(encoder_of(Tokens(), 4))))
    script = torch.jit.script(Tokens())
    encoder = Encoder("own.pt", script, Preprocessing(64), 4, half=False, known_hash="0")
    with pytest.raises(ModelError, match="TorchScript file, whose layers cannot be read; choose saliency"):
        drained(inside_patch.grad_cam(on(encoder)))
    _, found = drained(inside_patch.saliency(on(encoder)))
    assert found.maps[0].values.any(), "gradients go through it all the same"
    with pytest.raises(ModelError, match="has read no patch at y 5000, x 3"):
        drained(inside_patch.grad_cam(on(nic, at=(5000.0, 3.0))))
