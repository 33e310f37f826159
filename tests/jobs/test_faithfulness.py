from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import explain, faithfulness, run
from napari_zoommil.maps.curves import Curves
from napari_zoommil.maps.focus import Focus


def test_the_ends_of_the_curves_are_the_slide_and_a_patch(cmu: Path, make_model: Callable) -> None:
    model, seen = make_model((5.0, 10.0)), []
    found = run(explain(cmu, model, method="occlusion", target="tumour"))
    prediction = found.prediction
    told = run(faithfulness(cmu, found, steps=4, draws=2), seen.append)
    assert (told.method, told.target, told.magnification) == ("occlusion", "tumour", 5)
    count = len(prediction.grid.levels[0])
    np.testing.assert_allclose(told.shares * count, np.rint(np.linspace(0, count, 5)))
    whole = prediction.values[prediction.task.names.index("tumour")]
    assert told.deletion[0] == told.insertion[-1] == pytest.approx(whole, abs=1e-5)
    assert told.random_deletion.shape == (2, 5) and np.ptp(told.random_deletion[:, 0]) < 1e-6
    assert seen[-1].total == 2 * 3 * 5 and seen[-1].note.startswith("Faithfulness of Occlusion: ")


def test_an_order_that_matters_is_better_than_chance_and_its_reverse_worse() -> None:
    shares, low = np.linspace(0, 1, 5), np.array([1.0, 0.2, 0.1, 0.1, 0.1])
    even = np.linspace(1, 0, 5)[None]
    good = Curves("occlusion", "t", 5.0, shares, low, 1 - low, even, even[:, ::-1])
    assert good.is_better == (True, True) and good.verdict.startswith("The output follows this map")
    bad = replace(good, deletion=1 - low[::-1], insertion=low[::-1])
    assert bad.is_better == (False, False)
    assert good.areas["deletion"] == pytest.approx(0.2375) and good.areas["deletion_random"] == 0.5
    assert good.facts["areas"] == good.areas
    flat = np.full(5, 0.3)
    still = replace(
        good, deletion=flat, insertion=flat, random_deletion=flat[None], random_insertion=flat[None]
    )
    assert still.verdict.startswith("The output stays as it is") and still.is_better == (False, False)


def test_the_inside_of_a_patch_has_no_order_of_patches(cmu: Path, make_model: Callable) -> None:
    found = replace(run(explain(cmu, make_model((5.0, 10.0)))), focus=Focus(at=(1.0, 1.0)))
    with pytest.raises(ModelError, match="the inside of a patch has no patches to take away"):
        next(faithfulness(cmu, found))


def test_it_is_cancelled_between_passes(cmu: Path, make_model: Callable) -> None:
    found = run(explain(cmu, make_model((5.0, 10.0))))
    job = faithfulness(cmu, found)
    while "1 of" not in next(job).note:
        pass
    job.close()


def test_a_random_map_is_not_called_better_than_random_orders() -> None:
    """A toy model that adds what its patches say: maps of random values, and the one that knows."""
    rng, count, draws = np.random.default_rng(0), 20, 19
    taken = np.arange(0, count + 1, 2)

    def curves_of(weights: np.ndarray, own: np.ndarray, draws: int) -> Curves:
        orders = np.array([own, *(rng.permutation(count) for _ in range(draws))])
        gone = np.cumsum(weights[orders], 1)
        gone = np.concatenate([np.zeros((len(orders), 1)), gone], 1)[:, taken]
        left, given = (1 / (1 + np.exp(-one)) for one in (weights.sum() - gone, gone))
        return Curves("toy", "t", 5.0, taken / count, left[0], given[0], left[1:], given[1:])

    random, few, known = [], [], []
    for _ in range(200):
        weights = rng.normal(0, 1, count)
        random.append(curves_of(weights, rng.permutation(count), draws).is_better)
        few.append(curves_of(weights, rng.permutation(count), 39).is_better)
        known.append(curves_of(weights, np.argsort(-weights), draws).is_better)
    for told in (random, few):
        assert np.mean(told, axis=0).max() < 0.1, "one of twenty, of 200 maps"
    assert np.mean([all(one) for one in known]) > 0.95


def test_the_sentence_says_beside_how_many_orders() -> None:
    shares, low = np.linspace(0, 1, 5), np.array([1.0, 0.2, 0.1, 0.1, 0.1])
    random = np.repeat(np.linspace(1, 0, 5)[None], 19, 0)
    good = Curves("occlusion", "t", 5.0, shares, low, 1 - low, random, random[:, ::-1])
    assert good.verdict.endswith("than in all 19 random orders") and good.as_good == (0, 0)
    one_as_good = random.copy()
    one_as_good[3] = low
    less = replace(good, random_deletion=one_as_good)
    assert less.is_better == (False, True) and less.facts["random_orders_as_good"]["deletion"] == 1
    none = replace(less, random_insertion=1 - one_as_good)
    assert none.verdict == "This map cannot be told from 19 random orders"
    few = replace(good, random_deletion=random[:3], random_insertion=random[:3, ::-1])
    assert few.verdict.endswith("all 3 random orders; 3 are few, 19 tell it from chance")
    many = {"random_deletion": np.repeat(one_as_good, 3, 0)[:39], "random_insertion": random[[0] * 39, ::-1]}
    assert replace(good, **many).is_better == (False, True), "three of 39 are as good"
