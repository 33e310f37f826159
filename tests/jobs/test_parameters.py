from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_zoommil.jobs import embed, estimate, explain, predict, train
from napari_zoommil.jobs.parameters import Range, fields
from napari_zoommil.models.registry import entry

JOBS = (predict, estimate, explain, embed, train)


@pytest.mark.parametrize("job", JOBS)
def test_every_parameter_is_explained(job: Callable[..., Any]) -> None:
    found = fields(job)
    assert list(found) == list(inspect.signature(job).parameters)
    for name, field in found.items():
        assert field.name == name and field.help, f"{name} has no words in the docstring"
        assert not isinstance(field.type, str), "annotations are resolved"


@pytest.mark.parametrize("job", JOBS)
def test_every_number_has_a_range_that_holds_its_default(job: Callable[..., Any]) -> None:
    for field in fields(job).values():
        if field.type in (int, float, int | None, float | None):
            assert field.range is not None, field.name
            if field.default not in (None, inspect.Parameter.empty):
                assert field.range.low <= field.default <= field.range.high
        else:
            assert field.range is None


def test_a_field_in_full() -> None:
    rate = fields(train)["learning_rate"]
    assert (rate.type, rate.default) == (float | None, None)
    assert rate.help == "Of the optimiser; the recipe's by default."
    assert rate.range == Range(1e-6, 1e-1, log=True)
    assert fields(predict)["slide"].default is inspect.Parameter.empty
    assert fields(train)["cohort"].type is Path


def test_options_of_a_model_are_read_like_parameters() -> None:
    found = fields(entry("zoommil").config)
    assert list(found)[:2] == ["k", "hidden"] and all(field.help for field in found.values())
    assert (found["hidden"].default, found["hidden"].range) == (512, Range(1, 65_536))
    assert found["dropout"].range == Range(0, 0.99) and found["classifier"].range is None


def test_jobs_are_imported_without_torch() -> None:
    code = "import sys, napari_zoommil.jobs; print({'torch', 'lightning', 'timm', 'qtpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
