"""The part that trains an encoder: what it asks for, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel

from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.cohort import open_cohort
from napari_zoommil.jobs.train_encoder import EncoderTraining
from napari_zoommil.training.fit import FitStep
from napari_zoommil.viewer.docks.cohort import encoder
from napari_zoommil.viewer.docks.cohort.encoder import METHODS, EncoderPart, EncoderRequest, sentence_of


class AtOnce:
    """Runs a job to its end as soon as it is started."""

    def __init__(self, progress: Any, done: Any, ended: Any) -> None:
        self._progress, self._done, self._ended = progress, done, ended
        self.running, self.done, self.error = False, False, None

    def start(self, make: Any, _told: str = "") -> None:
        self.running, job = True, make()
        try:
            while True:
                self._progress(next(job))
        except StopIteration as stop:
            self.done = True
            self._done(stop.value)
        except ValueError as error:
            self.done, self.error = False, error
        self.running = False
        self._ended(None if self.done else str(self.error))

    def cancel(self) -> None:
        """Nothing runs that could be."""


@pytest.fixture
def trained() -> list[Path]:
    return []


@pytest.fixture
def part(qtbot, trained) -> EncoderPart:
    widget = EncoderPart(ViewerModel(), AtOnce, trained.append)
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def table(tmp_path) -> Path:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_bytes(b"")
    path = tmp_path / "slides.csv"
    path.write_text("slide\na.svs\nb.svs\n")
    return path


def test_without_a_cohort_of_several_slides_the_button_says_why_not(part, table) -> None:
    assert not part.act.button.isEnabled()
    assert "Open a table" in part.act.button.toolTip()
    table.write_text("slide\na.svs\n")
    part.show_cohort(open_cohort(table))
    assert "two slides" in part.act.button.toolTip()


def test_what_is_set_is_asked_for_and_its_result_shown(part, table, trained, monkeypatch) -> None:
    asked: dict[str, Any] = {}

    def job(cohort: Path, **how: Any) -> Any:
        asked.update(how, cohort=cohort)
        yield Progress(1, 2, "step 1 of 2", FitStep(0, 1, 1, 2, {"train_loss": 0.5}))
        yield Progress(2, 2, "step 2 of 2", FitStep(0, 1, 2, 2, {"train_loss": 0.25}))
        how["out"].mkdir(parents=True)
        return EncoderTraining(how["out"], how["method"], "0" * 16, 64, {"train": 9}, {"steps": 2.0})

    monkeypatch.setattr(encoder, "train_encoder", job)
    part.show_cohort(open_cohort(table))
    part.method.setCurrentText("contrastive")
    part.how.advanced["steps"].value = 2
    first = part.out.path
    assert first.parent == table.parent / "encoders"
    assert first.name.startswith("contrastive")
    part.act.button.click()
    assert (asked["method"], asked["recipe"], asked["steps"], asked["cohort"]) == (
        "contrastive",
        "cpu",
        2,
        table,
    )
    assert asked["out"] == first
    assert asked["code"] is None
    assert trained == [first]
    assert "64 features" in part.result.text()
    assert not part.curves.isHidden()
    assert part.out.path != first  # the next one does not replace it


def test_a_training_that_fails_says_why_and_can_be_started_again(part, table, monkeypatch) -> None:
    def job(_cohort: Path, **_how: Any) -> Any:
        yield Progress(0, 1, "reading")
        raise ValueError("no tissue")

    monkeypatch.setattr(encoder, "train_encoder", job)
    part.show_cohort(open_cohort(table))
    part.act.button.click()
    assert part.act.note.text() == "no tissue"
    assert part.act.button.isEnabled()
    assert part.resume.isHidden()


def test_each_method_says_what_it_needs(part) -> None:
    for name, told in METHODS.items():
        part.method.setCurrentText(name)
        assert part.method.toolTip() == told


def test_what_was_cut_off_after_an_epoch_can_be_resumed(tmp_path) -> None:
    request = EncoderRequest(tmp_path / "slides.csv", tmp_path / "out")
    assert not request.can_be_resumed
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last.ckpt").write_bytes(b"")
    assert request.can_be_resumed


def test_controls_are_told_beside_the_probe() -> None:
    metrics = {
        "steps": 1500.0, "probe_accuracy": 0.7, "probe_untrained_accuracy": 0.6, "probe_colour_accuracy": 0.5,
    }  # fmt: skip
    told = sentence_of(EncoderTraining(Path("x"), "vae", "", 128, {}, metrics))
    assert "1,500 steps" in told
    assert "70%" in told
    assert "60%" in told
