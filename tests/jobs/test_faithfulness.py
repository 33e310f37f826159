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
