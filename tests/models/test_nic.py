from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.bags.need import answer
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.maps.gradcam import grad_cam, run, summed
from napari_zoommil.maps.recorded import RecordedPass
from napari_zoommil.models import create
from napari_zoommil.models.ensemble import Ensemble
from napari_zoommil.models.mil import Need, drain
from napari_zoommil.models.nic import NIC
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression

from ..maps.test_methods import drained

DIM = 5
TINY: dict[str, Any] = {"region": 12, "padding": "same", "width": 8, "strides": (2, 1)}


@dataclass(frozen=True)
class Views:
    """A bag with features of its own for each variant."""

    bags: tuple[Any, ...]
    encoder_hash: str = ""

    @property
    def grid(self) -> PatchGrid:
        return self.bags[0].grid

    def features(self, level: int, rows: Any) -> torch.Tensor:
        return self.bags[0].features(level, rows)

    def variant(self, variant: int) -> Any:
        return self.bags[variant]


@pytest.fixture
def views(make_grid: Callable, make_bag: Callable) -> Callable[..., Views]:
    def make(rows: int = 9, columns: int = 7, count: int = 8) -> Views:
        grid = make_grid(rows, columns, (20.0,))
        return Views(tuple(make_bag(grid, DIM, seed) for seed in range(count)))

    return make


def tiny(**options: Any) -> NIC:
    torch.manual_seed(0)
    found = create("nic", DIM, 2, (20.0,), **TINY | options)
    assert isinstance(found, NIC)
    found.task = Classification(("no", "yes"))
    return found.eval()


def asked(model: NIC, bag: Any) -> list[Need]:
    needs: list[Need] = []

    def told(need: Any) -> torch.Tensor:
        needs.append(need)
        return answer(bag, need)

    drain(model.steps(bag.grid), told)
    return needs


def test_the_papers_network_is_the_default() -> None:
    model = create("nic", 128, 1)
    assert model.config() == {
        "in_features": 128, "classes": 1, "magnifications": [20.0], "region": 400, "padding": "valid",
        "width": 128, "strides": [2, 2, 2, 2, 2, 2, 1, 1], "dropout": 0.2, "crops": 1,
        "sampling": "distance", "views": 8, "test_views": None, "test_crops": 10,
    }  # fmt: skip
    recipe = entry("nic").recipe()
    assert (recipe.learning_rate, recipe.decay, recipe.least_rate, recipe.batch) == (1e-2, 0.1, 1e-5, 16)


def test_a_prediction_is_the_mean_over_views_of_the_turned_slide(views: Callable) -> None:
    bag, model = views(), tiny()
    lattice, image = bag.grid.levels[0].lattice, torch.zeros(8, DIM, 12, 12)
    for view, one in enumerate(bag.bags):
        for (row, column), own in zip(lattice, one.arrays[0], strict=True):
            image[view, :, row + 1, column + 2] = torch.from_numpy(own)
    turned = [one.rot90(view % 4, (1, 2)) for view, one in enumerate(image)]
    turned = [one.flip(2) if view >= 4 else one for view, one in enumerate(turned)]
    expected = model.network(torch.stack(turned)).mean(0)
    torch.testing.assert_close(model(bag).logits, expected)
    assert [need.variant for need in asked(model, bag)] == list(range(8))
    assert model.patches_needed((63,), ()) == (8 * 63,)


def test_one_view_asks_for_patches_as_they_are(views: Callable) -> None:
    model, bag = tiny(views=1), views(count=1)
    assert [need.variant for need in asked(model, bag)] == [0]
    model.train()
    assert {need.variant for _ in range(5) for need in asked(model, bag)} == {0}


def test_training_draws_crops_and_views(views: Callable) -> None:
    model, bag = tiny(region=4, crops=3).train(), views(20, 20)
    needs = [need for _ in range(20) for need in asked(model, bag)]
    assert len(needs) == 60 and {need.variant for need in needs} == set(range(8))
    lattice = bag.grid.levels[0].lattice
    assert all((np.ptp(lattice[need.rows], axis=0) < 4).all() for need in needs)
    middles = np.array([lattice[need.rows].mean(0) for need in needs])
    edge = np.minimum(middles, 19 - middles).min(1).mean()
    plain = tiny(region=4, crops=3, sampling="uniform").train()
    needs = [need for _ in range(20) for need in asked(plain, bag)]
    other = np.array([lattice[need.rows].mean(0) for need in needs])
    assert edge > np.minimum(other, 19 - other).min(1).mean() + 1, "nearer to the middle of the tissue"


def test_slides_of_a_batch_are_normalised_together(views: Callable) -> None:
    model = tiny(crops=2).train()
    bags = [views(9, 7), views(5, 11), views(3, 3)]
    found = model.outputs(bags)
    assert [one.logits.shape for one in found] == [(2,)] * 3
    target = torch.tensor(1)
    losses = [model.losses(one, target, 0.0)["bag"] for one in found]
    torch.stack(losses).mean().backward()
    one = found[0]
    each = [model.task.loss(crop, target) for crop in one.crops]  # type: ignore[attr-defined]
    torch.testing.assert_close(losses[0], torch.stack(each).mean())
    assert torch.isfinite(losses[0]) and len(each) == 2
    model.eval()
    torch.testing.assert_close(model.outputs(bags)[1].logits, model(bags[1]).logits)


def test_larger_slides_are_read_in_crops_that_are_spread(views: Callable) -> None:
    bag = views(30, 40, 1)
    few, many = tiny(region=8, views=1, test_crops=1), tiny(region=8, views=1, test_crops=10)
    many.load_state_dict(few.state_dict())
    assert not torch.allclose(few(bag).logits, many(bag).logits)
    image = torch.zeros(DIM, 30, 40)
    lattice = bag.grid.levels[0].lattice
    image[:, lattice[:, 0], lattice[:, 1]] = torch.from_numpy(bag.bags[0].arrays[0]).T
    middle = image[:, 11:19, 11:19]
    crops = [image[:, y : y + 8, x : x + 8] for y in range(23) for x in range(33)]
    told = few.network(torch.stack(crops))
    assert (told - few(bag).logits).abs().sum(1).min() < 1e-5, "one of all crops"
    assert middle.shape == (DIM, 8, 8)


@pytest.mark.parametrize(("padding", "region"), [("same", 12), ("valid", 24)])
@pytest.mark.parametrize("layer", range(3))
def test_grad_cam_lies_on_a_planted_spot(
    padding: str, region: int, layer: int, make_grid: Callable, make_bag: Callable
) -> None:
    """Also where the tissue does not begin at the slide's corner."""
    grid = make_grid(40, 50, (20.0,))
    own = grid.levels[0]
    moved = replace(own, origins=own.origins + np.array([3, 5]) * own.stride + 2.0)
    bag = make_bag(replace(grid, levels=(moved,)), DIM)
    bag.arrays[0][:] = 0
    spot = 17 * 50 + 29
    bag.arrays[0][spot] = 1
    model = tiny(padding=padding, region=region, views=1, strides=(2, 2, 1), dropout=0.0)
    for convolution in model.network.convolutions:
        nn.init.ones_(convolution[0].weight)
        nn.init.ones_(convolution[1].weight)
    nn.init.ones_(model.network.dense[0].weight)
    nn.init.ones_(model.network.output.weight)
    output = model(bag)
    assert [plane.layer for plane in output.planes] == ["conv1", "conv2", "conv3"]
    plane = output.planes[layer]
    values = grad_cam(output, 1).planes[layer]
    assert values.max() > 0
    heights = np.clip(values - values.min(), 0, None)
    where = [np.average(np.arange(n), weights=heights.sum(1 - axis)) for axis, n in enumerate(values.shape)]
    at = [o + (one + 0.5) * d for o, one, d in zip(plane.origin, where, plane.downsample, strict=True)]
    middle = moved.origins[spot] + np.array(moved.size) / 2
    assert np.abs(np.array(at) - middle).max() <= 0.5 * plane.downsample[0]
    step = output.steps[0]
    assert int(step.scores[:, 0].argmax()) in {
        spot + y * 50 + x for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)
    }


def test_gradients_of_features_are_those_of_the_prediction(views: Callable) -> None:
    bag, model = views(9, 7, 8), tiny()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    given = [torch.from_numpy(one.arrays[0]).requires_grad_() for one in bag.bags]
    answers = iter(given)
    output = drain(model.steps(bag.grid), lambda _: next(answers))
    found = torch.autograd.grad(output.logits[0], given, retain_graph=True)
    with torch.no_grad():
        given[3][31, 2] += 1e-2
        answers = iter(given)
        changed = drain(model.steps(bag.grid), lambda _: next(answers)).logits[0]
    assert float(changed - output.logits[0]) == pytest.approx(
        1e-2 * float(found[3][31, 2]), rel=0.05, abs=1e-5
    )
    assert any(one.any() for one in grad_cam(output, 0).planes)


def test_numbers_are_learnt_in_crops_too(views: Callable) -> None:
    model = create("nic", DIM, 1, (20.0,), **TINY, crops=2).train()
    model.task = Regression(offset=2.0, scale=0.5)
    loss = model.losses(model(views()), torch.tensor(3.0), 0.0)["bag"]
    assert loss.shape == () and loss.isfinite()


def test_crops_that_are_too_small_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"crops of 64 patches are too small .* need 383; choose padding=same"
    ):
        create("nic", 128, 2, region=64)


def test_predictions_are_of_views_that_training_has_seen() -> None:
    with pytest.raises(ModelError, match="over 4 views need a training on as many, and this one is on 2"):
        create("nic", DIM, 2, **TINY, views=2, test_views=4)
    with pytest.raises(ModelError, match="choose test_views up to views"):
        entry("nic").options({"views": 1, "test_views": 8})
    assert create("nic", DIM, 2, **TINY, views=2, test_views=1).options.variants == 2


@pytest.mark.parametrize(("padding", "region"), [("same", 12), ("valid", 24)])
def test_grad_cam_says_nothing_of_glass(
    padding: str, region: int, make_grid: Callable, make_bag: Callable
) -> None:
    grid = make_grid(11, 17, (20.0,))
    own = grid.levels[0]
    tissue = ~((own.lattice >= 4) & (own.lattice < (9, 12))).all(1)
    own = replace(own, origins=own.origins[tissue], parent=own.parent[tissue], tissue=own.tissue[tissue])
    bag = make_bag(replace(grid, levels=(own,)), DIM)
    model = tiny(padding=padding, region=region, views=1)
    features = bag.features(0, np.arange(len(own)))
    needs = [Need(0, np.arange(len(own)))]
    recorded = RecordedPass(model, bag, model(bag), tuple(needs), (features,), None, lambda _: None)  # type: ignore[arg-type,return-value]
    (found, _) = drained(run(recorded))[1].maps
    known, step = np.isfinite(found.values), np.array(found.downsample)
    patches = np.concatenate([own.origins, own.origins + np.array(own.size)], 1)
    for place in np.ndindex(known.shape):
        low = np.array(found.origin) + np.array(place) * step
        touched = ((patches[:, :2] < low + step - 1e-6) & (patches[:, 2:] > low + 1e-6)).all(1)
        assert known[place] == touched.any(), place
    assert known.any() and not known.all()


def test_an_ensemble_is_explained_by_the_mean_of_its_members(views: Callable) -> None:
    members = [tiny(), tiny()]
    for parameter in members[1].parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    together, bag = Ensemble.of(members, members[0].task), views()
    output = together(bag)
    assert together.explained_layer == "conv1"
    assert [plane.layer for plane in output.planes] == ["conv1", "conv1", "conv2", "conv2"]
    found = summed(output.planes, grad_cam(output, 1).planes)
    each = [grad_cam(model(bag), 1).planes for model in members]
    assert len(found) == 2
    for (_, values), own in zip(found, zip(*each, strict=True), strict=True):
        np.testing.assert_allclose(values, np.mean(own, 0), atol=1e-6)
