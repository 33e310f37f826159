"""Slides that are opened from the table: some stay open, and they show the model that is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtWidgets import QWidget

from napari_zoommil.familiarity import UNKNOWN
from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.cohort import open_cohort
from napari_zoommil.jobs.prediction_store import ALL_TISSUE
from napari_zoommil.models.task import Classification
from napari_zoommil.viewer.docks.cohort import showing
from napari_zoommil.viewer.docks.cohort.controller import CohortController
from napari_zoommil.viewer.docks.cohort.showing import MOST_OPEN, ShownSlides
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.open_slide import DETECTION, PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.worker import JobRunner


@pytest.fixture
def shown(model, make_slide, tmp_path, monkeypatch, qtbot) -> tuple:
    """What opens slides, the session, the controller of six slides, their paths, and a page."""
    monkeypatch.setattr(showing, "show_dock", lambda *_: None)
    slides = [make_slide(tmp_path / f"{number}.tif", (180, 90, 150), 256, number) for number in range(6)]
    table = tmp_path / "cohort.csv"
    table.write_text("slide\n" + "\n".join(path.name for path in slides))
    controller, session, page = CohortController(), session_of(model), QWidget()
    controller.show(open_cohort(table))
    qtbot.addWidget(page)
    made = ShownSlides(model, session, controller, lambda: "asked", lambda: ALL_TISSUE)
    session.result_changed.connect(made.result_changed)
    return made, session, controller, slides, page


def test_the_last_ones_stay_open_and_those_of_the_user_too(shown) -> None:
    opener, session, _, slides, page = shown
    own = session.open(slides[0])
    for path in slides[1:]:
        opener.open(path, page)
    assert own in session.slides and session.active.slide.path == slides[-1]
    assert [one.slide.path for one in session.slides[1:]] == slides[-MOST_OPEN:]


def test_slides_that_something_was_done_on_stay_open(shown, model, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(showing, "MOST_OPEN", 2)
    opener, session, _, slides, page = shown

    def opened(path: Path) -> OpenSlide:
        opener.open(path, page)
        return session.active

    detected, drawn = map(opened, slides[:2])
    detected.results[ResultKey(DETECTION, "cells")] = SimpleNamespace()
    square = np.array([(0, 0), (0, 99), (99, 99), (99, 0)], float)
    tissue_regions.regions_layer(model, drawn.slide, "add").add_polygons(square)
    cancelled, runner = Event(), JobRunner(model, *[lambda _: None] * 3, quiet=True)

    def job() -> Iterator[Progress]:
        while not cancelled.wait(0.01):
            yield Progress(0, 1)

    runner.start(job, of=(read := opened(slides[2])))
    for path in slides[3:]:
        opener.open(path, page)
    assert [entry.slide.path for entry in session.slides] == [*slides[:3], *slides[4:]]
    cancelled.set()
    qtbot.waitUntil(lambda: not runner.running)
    opener.open(slides[3], page)
    assert (detected.alive, drawn.alive, read.alive) == (True, True, False)


def test_the_result_of_the_model_that_is_asked_is_shown_once(shown) -> None:
    opener, session, controller, slides, page = shown
    values = np.array([0.2, 0.8], np.float32)
    result = SimpleNamespace(task=Classification(("a", "b")), values=values, familiarity=UNKNOWN)
    own = ResultKey(PREDICTION, "asked", made=1.0, where="all tissue")
    other = ResultKey(PREDICTION, "other", made=2.0, where="all tissue")
    part = ResultKey(PREDICTION, "asked", made=3.0, where="visible window")
    opener.open(slides[0], page)
    entry = session.active
    session.keep(entry, other, result)
    assert controller.rows[0].answer is None, "of another model"
    session.keep(entry, own, result)
    assert entry.shown(PREDICTION) == own and controller.rows[0].predicted == "b"
    session.keep(entry, part, SimpleNamespace(**vars(result) | {"values": values[::-1]}))
    assert controller.rows[0].predicted == "b", "of a part of the slide"
    session.choose(entry, other)
    assert entry.shown(PREDICTION) == other, "as the user went back"
    opener.open(slides[1], page)
    opener.open(slides[0], page)
    assert entry.shown(PREDICTION) == part, "the latest of the model"
