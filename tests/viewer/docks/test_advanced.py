"""Widgets from a job's parameters: ranges, units, help and defaults come from the job alone."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest

from napari_zoommil.jobs import detect, finetune, predict
from napari_zoommil.jobs.parameters import Range, fields
from napari_zoommil.viewer.docks.advanced import OPEN, Advanced, even_ratios


def job(
    epochs: Annotated[int | None, Range(1, 500)] = None,
    rate: Annotated[float | None, Range(1e-5, 1e-2, log=True)] = None,
    step: Annotated[float, Range(1e-4, 1e-1, log=True)] = 3e-4,
    share: Annotated[float | None, Range(0, 1, step=0.05)] = None,
    seed: Annotated[int, Range(0, 2**31)] = 7,
    batch: Annotated[int, Range(1, 256, unit="tiles")] = 4,
    loss: Literal["ce", "focal"] | None = None,
    stained: bool = True,
) -> None:
    """A job.

    Parameters
    ----------
    epochs : int, optional
        How often.
    batch : int
        So many at once.
    """


@pytest.fixture
def form(qapp):
    return Advanced(job, fields(job))


def test_a_check_box_is_named_by_its_line_alone(form) -> None:
    assert form["stained"].native.text() == ""


def test_untouched_it_gives_the_jobs_defaults(form) -> None:
    assert form.values == {name: field.default for name, field in fields(job).items()}


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (finetune, ("epochs", "learning_rate", "stain_augmentation", "seed", "loss", "preset")),
        (detect, ("batch_size", "workers", "threads", "mpp", "icc", "device")),
        (predict, ("min_tissue", "batch_size", "workers")),
    ],
)
def test_real_jobs_keep_their_defaults(qapp, function, names) -> None:
    known = fields(function)
    assert Advanced(function, names).values == {name: known[name].default for name in names}


def test_what_is_set_is_what_the_job_gets(form) -> None:
    chosen = {"epochs": 1, "rate": 2e-5, "share": 0.05, "seed": 2**31 - 1, "loss": "focal", "stained": False}
    for name, value in chosen.items():
        form[name].value = value
    assert {name: form.value(name) for name in chosen} == pytest.approx(chosen)


def test_none_is_shown_as_what_it_means_and_not_as_0(form) -> None:
    assert form["epochs"].native.text() == form["share"].native.text() == OPEN
    assert form["rate"].native.currentText() == form["loss"].native.currentText() == OPEN
    form.tell_open("epochs", "40 (preset)")
    form.tell_open("rate", "0.001 (preset)")
    assert form["epochs"].native.text() == "40 (preset)" and form.value("epochs") is None
    assert form["rate"].native.currentText() == "0.001 (preset)" and form.value("rate") is None


def test_ranges_units_and_help_are_those_of_the_job(form) -> None:
    assert form["batch"].native.text() == "4 tiles" and form["batch"].native.toolTip() == "So many at once."
    with pytest.raises(ValueError):
        form["batch"].value = 257
    assert form["step"].value == 3e-4 and form["step"].native.currentText() == "0.0003"


def test_even_ratios() -> None:
    assert even_ratios(Range(1e-3, 2e-2, log=True)) == [0.001, 0.002, 0.005, 0.01, 0.02]
    with pytest.raises(ValueError, match="begins above 0"):
        even_ratios(Range(0, 1, log=True))
