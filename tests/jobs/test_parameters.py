from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from docstring_parser import parse

from napari_zoommil import jobs
from napari_zoommil.commands.options import Mpp
from napari_zoommil.jobs import finetune, predict, train
from napari_zoommil.jobs.parameters import Field, Help, Range, Store, documented, fields
from napari_zoommil.models.registry import entry

JOBS = tuple(
    job for job in (getattr(jobs, name) for name in jobs.__all__) if inspect.isgeneratorfunction(job)
)

OWN = {
    "model of train": "an architecture, not a trained model",
    "model of detect": "a cell model",
    "model of finetune": "a cell model or a MIL model, to begin with",
    "encoder of import_model": "stated of a model, and not used for it",
    "encoder of embed": "any encoder, where a trained model has its own",
    "encoder of export_features": "that of embed, whose features it writes",
    "encoder of train": "any encoder, where a trained model has its own",
    "batch_size of detect": "tiles, not patches",
    "store of embed": "fills it for others, so that the user says where it is; features/ by default",
    "store of export_features": "that of embed",
    "store of train": "fills it for others, so that the user says where it is",
    "min_tissue of predict": "that of the model by default",
    "min_tissue of explain": "that of the model by default",
    "min_tissue of estimate": "that of the model by default",
    "out of export_features": "a folder of files and no model",
    "tissue_detector of train": "that of a recipe, or of a model to start from",
    "min_tissue of train": "no trained model that states its own, or one to start from",
    "magnifications of train": "recipes state theirs, and so does a model to start from",
    "magnifications of import_model": "of the model, as its authors trained it",
    "patch_size of train": "that of the model to start from, if there is one",
    "patch_size of import_model": "of the model, as its authors trained it",
    "options of train": "all of the model's; import_model takes those that weights do not tell",
    "cohort of train_encoder": "of slides or pictures, whose labels are optional",
    "method of train_encoder": "of training, not of explaining",
    "recipe of train_encoder": "of encoders, not of MIL models",
    "magnification of train_encoder": "of patches of slides",
    "patch_size of train_encoder": "that of the recipe by default",
    "patches of train_encoder": "that of the recipe by default",
    "steps of train_encoder": "of training, not points of a curve",
    "annotations of train_encoder": "regions of many slides, not points of one",
    "resume of finetune": "a MIL model begins anew, and others go on",
}
"""Parameters that say in one job something else than in the others, and why."""


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


def test_every_job_is_looked_at() -> None:
    assert {job.__name__ for job in JOBS} >= {"predict", "explain", "estimate", "detect", "embed", "train"}


def test_a_parameter_says_the_same_in_all_jobs() -> None:
    """Type, default, help, range and unit; where they are not the same, most of the jobs are right."""
    said: dict[str, dict[str, Field]] = {}
    for job in JOBS:
        for name, field in fields(job).items():
            said.setdefault(name, {})[job.__name__] = field
    others = set()
    for name, by_job in said.items():
        found = [repr(field) for field in by_job.values()]
        usual = max(found, key=found.count)
        others |= {f"{name} of {job}" for job, field in by_job.items() if repr(field) != usual}
    assert others == set(OWN)


def test_parameters_of_commands_without_a_job_say_the_same() -> None:
    kind, parameter = get_args(Mpp)
    known = fields(predict)["mpp"]
    assert known.range is not None and kind == known.type
    assert parameter.help == known.help_with_unit
    assert (parameter.validator[0].gte, parameter.validator[0].lte) == (known.range.low, known.range.high)


@pytest.mark.parametrize("job", JOBS)
def test_the_docstring_has_every_parameter_in_order(job: Callable[..., Any]) -> None:
    text = job.__doc__ or ""
    names = [name.strip() for param in parse(text).params for name in param.arg_name.split(",")]
    assert names == list(fields(job))
    assert text.count("Parameters\n----------\n") == 1 and "\n\nReturns\n-------\n" in text


def test_what_a_type_explains_is_added_to_the_docstring() -> None:
    def job(
        first: int, store: Store = None, *, width: Annotated[int, Range(1, 9, unit="px"), Help("Of it.")] = 2
    ):
        """Do.

        Parameters
        ----------
        first : int
            In words of
            its own.

        Returns
        -------
        None
        """

    assert documented(job) is job
    assert (
        job.__doc__
        == """Do.

Parameters
----------
first : int
    In words of
    its own.
store : Path, optional
    Folder of features: what it holds is not encoded again. One in the user's cache by default.
width : int
    Of it. (px)

Returns
-------
None"""
    )


def test_a_field_in_full() -> None:
    rate = fields(train)["learning_rate"]
    assert (rate.type, rate.default) == (float | None, None)
    assert rate.help == "Of the optimiser; the recipe's or the preset's by default."
    assert rate == fields(finetune)["learning_rate"]
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
