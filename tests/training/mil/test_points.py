from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.bags.subgrid import TensorBag
from napari_zoommil.cells.losses import ExclusiveCrossEntropy
from napari_zoommil.cells.losses.schedules import PAPER_THRESHOLD, constant
from napari_zoommil.errors import ModelError
from napari_zoommil.models import create
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.task import Classification
from napari_zoommil.models.zoommil import ZoomMIL
from napari_zoommil.training.fit import fit_steps
from napari_zoommil.training.mil.points import (
    AnnotatedBag,
    PointModule,
    PointRecipe,
    one_step,
    point_recipe,
    prior_offsets,
)

MAGNIFICATIONS = (5.0, 10.0)


@pytest.fixture
def model() -> ZoomMIL:
    torch.manual_seed(0)
    return ZoomMIL(4, 2, MAGNIFICATIONS, ZoomMILOptions(3, hidden=32, attention=16))


@pytest.fixture
def bag(make_grid: Callable, make_bag: Callable) -> AnnotatedBag:
    """Patches of two kinds, told apart by a feature; some of the first kind are annotated."""
    grid = make_grid(8, 10, MAGNIFICATIONS)
    plain, targets = make_bag(grid, 4), []
    for array in plain.arrays:
        array[: len(array) // 4, 0] += 6
        one = np.zeros(len(array), np.int64)
        one[: len(array) // 8] = 1
        targets.append(torch.from_numpy(one))
    features = tuple(map(torch.from_numpy, plain.arrays))
    return AnnotatedBag(TensorBag(grid, features), tuple(targets), torch.tensor([0.0, 1.0]))


def taught(model: ZoomMIL, bag: AnnotatedBag, **changes: Any) -> PointModule:
    recipe = point_recipe("interactive", epochs=60, learning_rate=1e-2)
    module = PointModule(model, replace(recipe, **changes), bag)
    for _ in fit_steps(module, one_step(), epochs=module.recipe.epochs):
        pass
    model.eval()
    return module


def test_attention_goes_where_points_are_and_to_what_looks_alike(model: ZoomMIL, bag: AnnotatedBag) -> None:
    with torch.no_grad():  # an untrained classifier knows no truth that attention could look for
        before = model.eval()(bag.bag)
    module = taught(model, replace(bag, truth=before.logits.softmax(0)))
    with torch.no_grad():
        for level, targets in enumerate(bag.targets):
            kind = torch.arange(len(targets)) < len(targets) // 4
            alike = kind & (targets == 0)
            scores = module.scores(level)
            assert scores.shape == (len(targets), 2 - level)
            assert scores[alike].mean(0).min() > scores[~kind].mean(0).max() + 1
        after = model(bag.bag).steps[0]
    kind = torch.arange(80) < 20
    assert after.attention.softmax(0)[kind].sum() > 0.8 > 2 * before.steps[0].attention.softmax(0)[kind].sum()
    assert np.isin(after.zoomed, np.arange(20)).all(), "it also zooms there"


def test_embeddings_and_classifier_stay(model: ZoomMIL, bag: AnnotatedBag) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    taught(model, bag, epochs=3)
    changed = {
        name.split(".")[0] for name, value in model.state_dict().items() if (value != before[name]).any()
    }
    assert changed == {"pool", "zoom"}


def test_an_attention_counts_for_nothing_but_its_differences(model: ZoomMIL, bag: AnnotatedBag) -> None:
    model.eval()
    losses = []
    for shift in (0.0, 50.0):
        with torch.no_grad():
            for attention in (*model.pool, *model.zoom):
                attention.score.bias += shift
        losses.append(PointModule(model, point_recipe("interactive"), bag).point_loss(0.0).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_offsets_begin_at_the_annotated_share(model: ZoomMIL, bag: AnnotatedBag) -> None:
    model.eval()
    (coarse, fine) = prior_offsets(model, bag)
    logits = model.attention_logits(1, bag.bag.tensors[1]).detach()
    odds = (logits - fine.detach()).exp().mean(0)
    torch.testing.assert_close(odds, torch.full((1,), (40 / 320) / (1 - 40 / 320)), rtol=1e-4, atol=0)
    assert coarse.shape == (2,)


def test_the_losses_are_those_of_single_patches_and_of_the_bag(model: ZoomMIL, bag: AnnotatedBag) -> None:
    model.eval()
    module = PointModule(model, PointRecipe(options={"sampling": constant(1.0)}), bag)
    expected = []
    for level, targets in enumerate(bag.targets):
        embeddings = model.embed[level](bag.bag.tensors[level])
        heads = [model.pool[level], *([model.zoom[level]] if level == 0 else [])]
        loss = ExclusiveCrossEntropy(sampling=constant(1.0))
        scores = [
            head(embeddings)[:, 0] - offset for head, offset in zip(heads, module.offsets[level], strict=True)
        ]
        expected.append(torch.stack([loss(one, targets, 0.4) for one in scores]).mean())
    torch.testing.assert_close(module.point_loss(0.4), torch.stack(expected).mean())
    torch.testing.assert_close(module.bag_loss(), -model(bag.bag).logits.log_softmax(0)[1])


def test_likely_positives_do_not_count_as_background(model: ZoomMIL, bag: AnnotatedBag) -> None:
    module = PointModule(model.eval(), point_recipe("interactive"), bag)
    with torch.no_grad():
        for offset in module.offsets:
            offset -= 100  # all patches are likely now
    module.point_loss(0.5).backward()
    assert all(float(weight.grad.abs().sum()) < 1e-6 for weight in module.trained if weight.grad is not None)
    known = replace(bag, targets=tuple(torch.full_like(one, -1) for one in bag.targets))
    module.annotated = known
    module.point_loss(0.5).backward()
    assert any(float(weight.grad.abs().sum()) > 1e-3 for weight in module.trained)


def test_a_prediction_is_held_where_it_was(model: ZoomMIL, bag: AnnotatedBag) -> None:
    with torch.no_grad():
        before = model.eval()(bag.bag).logits.softmax(0)
    taught(model, replace(bag, truth=before), epochs=15)
    with torch.no_grad():
        assert torch.allclose(model(bag.bag).logits.softmax(0), before, atol=0.1)


def test_presets() -> None:
    quick, paper = point_recipe("interactive", seed=3, epochs=None), point_recipe("paper")
    assert quick.seed == 3 and quick.options is not None and quick.options["weight"] == 1
    assert point_recipe("interactive", "ce").options is None
    assert paper.options is None and paper.epochs == 300
    assert ExclusiveCrossEntropy().threshold is PAPER_THRESHOLD, "which it then takes"


def test_a_loss_with_a_memory_is_refused(model: ZoomMIL, bag: AnnotatedBag) -> None:
    with pytest.raises(ModelError, match="needs pixels"):
        PointModule(model, PointRecipe(loss="elr-cifar10"), bag)


def test_points_of_a_class_train_the_attention_to_it(make_grid: Callable, make_bag: Callable) -> None:
    torch.manual_seed(0)
    model = create("clam_mb", 4, 2, (10.0,), hidden=8, attention=6)
    model.task = Classification(("normal", "tumour"))
    grid = make_grid(4, 5, (10.0,))
    targets = torch.zeros(20, dtype=torch.int64).index_fill(0, torch.arange(4), 1)
    bag = TensorBag(grid, (torch.from_numpy(make_bag(grid, 4).arrays[0]),))
    for label, trained in (("tumour", [False, True]), (None, [True, True])):
        annotated = AnnotatedBag(bag, (targets,), torch.tensor([0.0, 1.0]), label)
        module = PointModule(model, point_recipe("interactive"), annotated)
        (gradient,) = torch.autograd.grad(module.point_loss(0.0), [model.attend.score.weight])
        assert gradient.any(1).tolist() == trained
