"""Entries, options and recipes; what another package brings is in ``outside``."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from napari_zoommil.errors import ModelError
from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.registry import Entry, Recipe, entries, entry, names


@dataclass(frozen=True)
class Options:
    width: int = 4
    deep: bool = False
    rates: tuple[float, ...] = (0.5,)


def test_every_entry_is_whole() -> None:
    for name, found in entries().items():
        assert found.recipe("default") is found.recipe() and found.citation, name
        found.check_scales(found.magnifications())
        for recipe in found.recipes.values():
            assert isinstance(found.options(recipe.options), found.config)
            found.check_scales(found.magnifications(recipe))
    assert names()[0] == "zoommil"


def test_the_registry_is_read_without_torch() -> None:
    code = (
        "import sys; from napari_zoommil.models.registry import entry, names; "
        "entry(names()[0]).options({'k': 3}); print({'torch', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, Options()),
        ({"width": 3}, Options(3)),
        ({"width": "3", "deep": "true", "rates": ["1", 2]}, Options(3, True, (1.0, 2.0))),
    ],
)
def test_options_are_converted(given: dict[str, Any], found: Options) -> None:
    assert Entry("a:B", Options).options(given) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3}, "there is no option 'widht'; there are width, deep, rates"),
        ({"width": "three"}, "width = 'three': .*integer"),
        ({"width": 3.5}, "width = 3.5: .*integer"),
        ({"deep": "perhaps"}, "deep = 'perhaps'"),
        ({"rates": "1"}, "rates = '1'"),
    ],
)
def test_options_that_do_not_fit_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        Entry("a:B", Options).options(given)


def test_k_of_each_step_is_an_option() -> None:
    assert entry("zoommil").options({"k": ["12", "8"]}) == ZoomMILOptions(k=(12, 8))
    assert entry("zoommil").options({"k": [12, 8], "sigma": None}).k == (12, 8)


@pytest.mark.parametrize(
    ("scales", "count", "said"),
    [("one", 2, "one magnification, not 1x, 2x"), ("one", 0, "not none"), ("nested", 1, "two magnif")],
)
def test_magnifications_that_do_not_fit_are_refused(scales: Any, count: int, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        Entry("a:B", Options, scales=scales).check_scales([1, 2][:count])
    Entry("a:B", Options, scales="several").check_scales([1, 2])


def test_a_recipe_brings_its_magnifications() -> None:
    recipes = {"default": Recipe(), "fine": Recipe(magnifications=(40.0,))}
    found = Entry("a:B", Options, recipes=recipes)
    assert found.magnifications() == (20.0,)
    assert found.magnifications(found.recipe("fine")) == (40.0,)
    assert Entry("a:B", Options, scales="nested").magnifications() == (5.0, 10.0, 20.0)
    with pytest.raises(ModelError, match="no recipe 'coarse'; choose one of default, fine"):
        found.recipe("coarse")


def test_a_loss_or_error_is_best_where_it_is_small() -> None:
    modes = {name: Recipe(monitor=name).mode for name in ("val_loss", "val_bag_loss", "val_mae", "val_f1")}
    assert modes == {"val_loss": "min", "val_bag_loss": "min", "val_mae": "min", "val_f1": "max"}


def test_the_default_recipe_is_that_of_the_authors() -> None:
    """Adam 1e-4, no decay, × 0.8 after 5 epochs without a better validation loss, 100 epochs, weighted."""
    recipe = entry("zoommil").recipe()
    assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == ("adam", 1e-4, 0)
    assert (recipe.schedule, recipe.decay, recipe.patience, recipe.monitor) == ("plateau", 0.8, 5, "val_loss")
    assert (recipe.epochs, recipe.weighted, recipe.stop_after, recipe.accumulate) == (100, True, None, 1)
