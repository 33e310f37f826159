from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_zoommil.models import create
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification


def small(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return create(name, 6, 2, hidden=8, **options).eval()


@pytest.mark.parametrize(("name", "pool"), [("maxmil", np.max), ("meanmil", np.mean)])
@pytest.mark.parametrize("classifier", ["linear", "mlp"])
def test_it_is_the_equation(
    name: str, pool: Callable, classifier: str, make_grid: Callable, make_bag: Callable
) -> None:
    model, bag = small(name, classifier=classifier), make_bag(make_grid(4, 5, (20.0,)), 6)
    weight, bias = (value.detach().numpy() for value in model.embed[0].parameters())
    embedded = np.maximum(bag.arrays[0] @ weight.T + bias, 0)
    output = model(bag)
    expected = model.classify(torch.from_numpy(pool(embedded, axis=0)))
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=0)
    alone = model.classify(torch.from_numpy(embedded))
    torch.testing.assert_close(output.steps[0].scores, alone, atol=1e-5, rtol=0)
    assert (output.steps[0].evidence is None) == (classifier == "mlp")


@pytest.mark.parametrize("name", ["maxmil", "meanmil"])
def test_a_score_is_the_answer_to_the_patch_alone(name: str, make_grid: Callable, make_bag: Callable) -> None:
    model = small(name, classifier="mlp")
    model.task = Classification(("normal", "tumour"))
    bag, alone = make_bag(make_grid(1, 3, (20.0,)), 6), make_bag(make_grid(1, 1, (20.0,)), 6)
    assert np.array_equal(bag.arrays[0][:1], alone.arrays[0])
    torch.testing.assert_close(model(bag).steps[0].scores[0], model(alone).logits)
    assert model.heads == ("instance normal", "instance tumour")


def test_the_evidence_of_a_maximum_is_what_the_patch_holds(make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small("maxmil"), make_bag(make_grid(1, 3, (20.0,)), 6)
    (step,) = model(bag).steps
    winner = step.embeddings.argmax(0)
    for patch in range(3):
        own = winner == patch
        expected = model.classify.weight[:, own] @ step.embeddings[patch, own]
        torch.testing.assert_close(step.evidence[patch], expected)
    assert step.pooling is None


@pytest.mark.parametrize("name", ["maxmil", "meanmil"])
def test_patches_are_drawn_in_training_alone(name: str, make_grid: Callable, make_bag: Callable) -> None:
    model, bag = small(name, sampled=4, dropout=0.0), make_bag(make_grid(4, 5, (20.0,)), 6)
    assert len(model(bag).steps[0].rows) == 20
    model.train()
    drawn = [model(bag).steps[0].rows for _ in range(5)]
    assert all(len(rows) == 4 and (np.diff(rows) > 0).all() for rows in drawn)
    assert len(np.unique(np.concatenate(drawn))) > 4
    torch.manual_seed(7)
    one = model(bag).logits
    torch.manual_seed(7)
    assert torch.equal(one, model(bag).logits)
    few = make_bag(make_grid(1, 3, (20.0,)), 6)
    assert model(few).steps[0].rows.tolist() == [0, 1, 2]


def test_the_recipes_are_those_of_sparseconvmil() -> None:
    for name in ("maxmil", "meanmil"):
        recipe = entry(name).recipe("crc")
        assert (recipe.learning_rate, recipe.weight_decay, recipe.accumulate) == (1e-3, 1e-4, 8)
        model = create(name, 512, 3, **recipe.options)
        assert model.options.sampled == 100 and model.classify[0].out_features == 128
