"""Widgets from a job's parameters: ranges, units, help and defaults come from the job alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_zoommil.jobs import detect, finetune, predict, train
from napari_zoommil.jobs.parameters import OneOf, Range, fields
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
        (predict, ("features", "overlap", "store", "min_tissue", "batch_size", "workers")),
        (train, ("columns", "flags", "tissue_detector", "task", "unit", "mpp")),
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


@dataclass(frozen=True)
class Part:
    """A bundle.

    Attributes
    ----------
    column : str
        Name of a column.
    table : Path, optional
        Another table.
    nodes : int
        Not shown.
    """

    column: str = "label"
    table: Path | None = None
    nodes: int = 1


def bundled(
    paths: Sequence[Path] = (),
    part: Part = Part(),
    detector: Annotated[str | None, OneOf(("a", "b"))] = None,
) -> None:
    """A job."""


def test_parts_of_a_job_have_lines_of_their_own(qtbot) -> None:
    form = Advanced(bundled, fields(bundled), hidden=("nodes",))
    qtbot.addWidget(form)
    heard = []
    form.heard(lambda: heard.append(form.values))
    assert form.values == {"paths": (), "part": Part(), "detector": None}
    assert form["column"].native.placeholderText() == "label"
    form["paths"].value = (Path("a b"), Path("c, d"))
    form["table"].value = Path("t.csv")
    form["detector"].value = "b"
    assert len(heard) == 3
    qtbot.keyClicks(form["column"].native, "isMSIH")
    assert len(heard) == 3, "it is not entered yet"
    qtbot.keyClick(form["column"].native, Qt.Key.Key_Return)
    expected = {"paths": (Path("a b"), Path("c, d")), "part": Part("isMSIH", Path("t.csv")), "detector": "b"}
    assert heard[-1] == form.values == expected
    form["paths"].value = ()
    form["column"].value = ""
    assert form.values["paths"] == () and form.values["part"].column == "label"


def test_paths_are_chosen_and_added(qtbot, monkeypatch) -> None:
    form = Advanced(bundled, ("paths",))
    qtbot.addWidget(form)
    names = iter(("/x/one", "", "/x/two"))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: next(names))
    _, folder = form["paths"].choose.menu().actions()
    for _ in range(3):
        folder.trigger()
    assert form.value("paths") == (Path("/x/one"), Path("/x/two"))
