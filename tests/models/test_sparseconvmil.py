from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.maps.gradcam import grad_cam
from napari_zoommil.models import create
from napari_zoommil.models.entries_network import SparseConvMILOptions
from napari_zoommil.models.registry import entry
from napari_zoommil.models.sparseconvmil import SCALES, SparseConvMIL, augmented, places_of


def small(**options) -> SparseConvMIL:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return SparseConvMIL(6, 3, (20,), SparseConvMILOptions(**{"channels": (5, 4), "hidden": 7} | options))


def some(grid: PatchGrid, keep: float) -> PatchGrid:
    """A share of the patches of a grid, not in raster order."""
    (level,) = grid.levels
    rows = np.random.default_rng(3).permutation(len(level))[: max(1, round(keep * len(level)))]
    return replace(grid, levels=(level.chosen(rows, level.parent[rows]),))


def reference(model: SparseConvMIL, bag, downsample: int) -> Tensor:  # type: ignore[no-untyped-def]
    """By a dense image with a mask, whose sites are averaged in a loop."""
    origins = bag.grid.levels[0].origins
    sites = ((origins - origins.min(0)) / 8 / downsample).astype(int)
    image, mask = torch.zeros(6, *(sites.max(0) + 1)), torch.zeros(*(sites.max(0) + 1))
    for (row, column), features in zip(sites, torch.from_numpy(bag.arrays[0]), strict=True):
        image[:, row, column] += features
        mask[row, column] += 1
    image = image / mask.clamp(min=1)
    for layer in model.convolutions:
        inside, outside = layer.weight.shape[0], layer.weight.shape[2]
        kernel = layer.weight.permute(2, 0, 1).reshape(outside, inside, 3, 3)
        image = conv2d(image[None], kernel, layer.bias, padding=1)[0].relu() * (mask > 0)
    return model.classifier(image.sum((1, 2)) / (mask > 0).sum())


def test_parameter_counts() -> None:
    found = sum(weight.numel() for weight in create("sparseconvmil", 512).parameters())
    assert found == (9 * 512 * 32 + 32) + (9 * 32 * 32 + 32) + (32 * 128 + 128) + (128 * 2 + 2)


@pytest.mark.parametrize("name", entry("sparseconvmil").recipes)
def test_the_models_of_recipes_build_and_rebuild(name: str) -> None:
    model = create("sparseconvmil", **entry("sparseconvmil").recipe(name).options)
    assert create("sparseconvmil", **model.config()).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("downsample", [1, 2, 3])
def test_it_is_a_masked_dense_network(
    make_grid: Callable, make_bag: Callable, keep: float, downsample: int
) -> None:
    model, bag = small(downsample=downsample).eval(), make_bag(some(make_grid(5, 9, (20.0,)), keep), 6)
    output = model(bag)
    torch.testing.assert_close(output.logits, reference(model, bag, downsample), atol=1e-5, rtol=1e-5)
    assert torch.equal(model(bag).logits, output.logits), "the same each time"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 60])
@pytest.mark.parametrize("training", [True, False])
def test_bags_of_any_size_train(make_grid: Callable, make_bag: Callable, count: int, training: bool) -> None:
    model, bag = small().train(training), make_bag(make_grid(1, count, (20.0,)), 6)
    output = model(bag)
    assert output.logits.isfinite().all() and output.steps[0].scores.shape == (count, 1)
    model.losses(output, torch.tensor(1), 0.0)["bag"].backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_scores_are_lengths_and_gradcam_sums_to_the_output(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small(downsample=2).double().eval(), make_bag(some(make_grid(4, 6, (20.0,)), 0.7), 6)
    bag = replace(bag, arrays=(bag.arrays[0].astype(np.float64),))
    output = model(bag)
    (step,), (cam,) = output.steps, grad_cam(output, 2).steps
    assert step.embeddings is not None and cam is not None and step.evidence is None
    np.testing.assert_allclose(step.scores[:, 0], np.linalg.norm(step.embeddings.detach(), axis=1))
    first, _, last = model.classifier
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    sites = np.floor(places_of(bag.grid.levels[0], step.rows) / 2)
    one_each = np.unique(sites, axis=0, return_index=True)[1]
    hidden = first(step.embeddings[torch.from_numpy(one_each)].mean(0))
    without = last.weight[2] @ ((hidden > 0) * first.bias) + last.bias[2]
    assert cam.sum() == pytest.approx(float(output.logits[2] - without), rel=1e-6)


def test_places_do_not_depend_on_rounding_or_on_other_patches(make_grid: Callable) -> None:
    (level,) = make_grid(40, 40, (20.0,)).levels
    stride = (256 * 1.0123456789, 256 * 0.9876543211)
    moved = replace(level, origins=level.lattice * np.array(stride) + 1234.567, stride=stride)
    for downsample in (1, 2, 5):
        sites = np.floor(places_of(moved, np.arange(1600)) / downsample)
        np.testing.assert_array_equal(sites, (level.lattice + 4) // downsample)
    kept = np.flatnonzero(level.lattice.min(1) >= 3)
    fewer = replace(moved, origins=moved.origins[kept])
    np.testing.assert_array_equal(places_of(fewer, np.arange(len(kept))), places_of(moved, kept))


def test_augmentation_turns_mirrors_scales_and_shifts() -> None:
    torch.manual_seed(0)
    places = np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (5.0, 7.0)])
    turned, mirrored, middles = [], set(), []
    for _ in range(300):
        found = augmented(places)
        across, down = found[1] - found[0], found[2] - found[0]
        # affine: a square stays a parallelogram, with the corner of (5, 7) where it belongs
        np.testing.assert_allclose(found[3] - found[0], 5 * down + 7 * across, atol=1e-9)
        area = np.linalg.det([down, across])
        assert SCALES[0] ** 2 <= abs(area) <= SCALES[1] ** 2
        mirrored.add(np.sign(area))
        turned.append(np.arctan2(*across))
        middles.append(found.mean(0))
    assert mirrored == {-1.0, 1.0}
    assert np.histogram(turned, 8, (-np.pi, np.pi))[0].min() > 10, "all directions, in radians"
    assert 0 <= np.min(middles) < 0.05 and 0.95 < np.max(middles) <= 1, "the shift is within a patch"


def test_training_is_augmented_by_torchs_random_numbers(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small().train(), make_bag(make_grid(4, 5, (20.0,)), 6)
    torch.manual_seed(1)
    first, second = model(bag).logits, model(bag).logits
    torch.manual_seed(1)
    assert torch.equal(model(bag).logits, first) and not torch.equal(first, second)


def test_training_draws_as_many_patches_as_asked(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small(sampled=7), make_bag(make_grid(4, 5, (20.0,)), 6)
    seen = [model.train()(bag).steps[0].rows for _ in range(20)]
    assert {len(rows) for rows in seen} == {7} and set(np.concatenate(seen)) == set(range(20))
    assert len(model.eval()(bag).steps[0].rows) == 20
