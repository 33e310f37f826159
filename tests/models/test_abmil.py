from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_zoommil.errors import ModelError
from napari_zoommil.models import create
from napari_zoommil.models.blocks.attention import Attention
from napari_zoommil.models.registry import entry
from napari_zoommil.training.mil.points import trained_parameters


def plain(model: torch.nn.Module, features: torch.Tensor, gated: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and attention logits, from the equations of Ilse 2018."""
    weights = {name: value.detach() for name, value in model.state_dict().items()}

    def linear(part: str, given: torch.Tensor) -> torch.Tensor:
        return given @ weights[f"{part}.weight"].T + weights[f"{part}.bias"]

    hidden = linear("embed.0", features).clamp(min=0)
    inner = torch.tanh(linear("attend.value.0", hidden))
    if gated:
        inner = inner / (1 + torch.exp(-linear("attend.gate.0", hidden)))
    scores = linear("attend.score", inner)[:, 0]
    shares = scores.exp() / scores.exp().sum()
    return linear("classify", (shares[:, None] * hidden).sum(0)), scores


@pytest.mark.parametrize("gated", [True, False])
def test_it_is_the_equations(gated: bool, make_grid: Callable, make_bag: Callable) -> None:
    torch.manual_seed(0)
    model = create("abmil", 6, 3, hidden=8, attention=5, gated=gated).eval()
    bag = make_bag(make_grid(3, 4, (20.0,)), 6)
    output = model(bag)
    logits, scores = plain(model, torch.from_numpy(bag.arrays[0]), gated)
    torch.testing.assert_close(output.logits, logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.steps[0].attention, scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("gated", [True, False])
def test_it_is_that_of_torchmil(gated: bool, make_grid: Callable, make_bag: Callable) -> None:
    """Two differences: torchmil has no bias in w, which the softmax ignores, and one output."""
    models = pytest.importorskip("torchmil.models")
    torch.manual_seed(0)
    ours = create("abmil", 6, 1, hidden=8, attention=5, gated=gated).eval()
    theirs = models.ABMIL((6,), att_dim=5, gated=gated, feat_ext=ours.embed).eval()
    layers = {"pool.fc1": ours.attend.value[0], "classifier": ours.classify}
    layers |= {"pool.fc_gated": ours.attend.gate[0]} if gated else {}
    for name, layer in layers.items():
        theirs.get_submodule(f"{name}.module").load_state_dict(layer.state_dict())
    theirs.pool.fc2.weight.data = ours.attend.score.weight.data
    ours.attend.score.bias.data.zero_()
    bag = make_bag(make_grid(5, 8, (20.0,)), 6)
    with torch.no_grad():
        output, (logit, scores) = ours(bag), theirs(torch.from_numpy(bag.arrays[0])[None], return_att=True)
    torch.testing.assert_close(output.logits, logit, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.steps[0].attention, scores[0], atol=1e-5, rtol=0)


def test_its_options_make_its_parts() -> None:
    gated, plain = create("abmil"), create("abmil", gated="false", classifier="mlp")
    size = sum(weight.numel() for weight in gated.parameters())
    assert size == 1024 * 512 + 512 + 262_913 + 512 * 2 + 2
    assert plain.attend.gate is None and len(plain.classify) == 4
    assert set(map(id, trained_parameters(plain))) == set(map(id, plain.attend.parameters()))
    assert isinstance(plain.attend, Attention)
    with pytest.raises(ModelError, match="it uses one magnification, not 5x, 10x"):
        create("abmil", magnifications=(5, 10))


def test_points_are_taught_what_a_pass_shows(make_grid: Callable, make_bag: Callable) -> None:
    model = create("abmil", 6, 2, hidden=8, attention=5).eval()
    bag = make_bag(make_grid(3, 4, (20.0,)), 6)
    shown = model.attention_logits(0, bag.features(0, np.arange(5)))
    torch.testing.assert_close(shown, model(bag).steps[0].scores[:5])


def test_the_compared_recipes_read_the_highest_magnification() -> None:
    found = entry("abmil").recipes
    assert {name: one.magnifications for name, one in found.items()} == {
        "default": (), "crc": (20.0,), "bright": (10.0,), "camelyon16": (20.0,),
    }  # fmt: skip
    assert [found[name].monitor for name in ("crc", "bright", "camelyon16")] == [
        "val_loss", "val_f1", "val_loss",
    ]  # fmt: skip
    assert found["crc"].options == {"classifier": "mlp"}
