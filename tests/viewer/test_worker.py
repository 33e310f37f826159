"""Jobs on threads: closed whatever happens, failures reported."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator
from weakref import ref

import pytest
from napari.utils.notifications import notification_manager
from psygnal import Signal

from napari_zoommil.errors import SlideError
from napari_zoommil.jobs import Progress
from napari_zoommil.viewer.worker import OUTDATED, JobRunner


class Log:
    """What a runner told."""

    def __init__(self, viewer, quiet: bool = False) -> None:
        self.progress, self.results, self.ends = [], [], 0
        self.runner = JobRunner(viewer, self.progress.append, self.results.append, self._end, quiet)

    def _end(self, failure: str | None) -> None:
        self.ends += 1
        self.failure = failure


@pytest.fixture
def log(make_napari_viewer) -> Log:
    return Log(make_napari_viewer())


def test_a_job_reports_and_returns(log, qtbot) -> None:
    def job() -> Generator[Progress, None, str]:
        yield Progress(1, 2, "half")
        return "done"

    log.runner.start(job, "testing")
    qtbot.waitUntil(lambda: log.ends == 1)
    assert [p.note for p in log.progress] == ["half"]
    assert log.results == ["done"] and not log.runner.running


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), SlideError("broken slide"), KeyError("x")])
def test_every_failure_becomes_a_notification_and_the_runner_is_free(log, qtbot, error) -> None:
    def job() -> Generator[Progress, None, None]:
        yield Progress(0, 1, "about to fail")
        raise error

    before = len(notification_manager.records)
    log.runner.start(job, "testing")
    qtbot.waitUntil(lambda: log.ends == 1)
    assert not log.runner.running and log.results == []
    (record,) = notification_manager.records[before:]
    assert log.failure is not None and str(error.args[0]) in log.failure
    assert str(error.args[0]) in record.message


def test_cancel_closes_the_generator_on_its_own_thread(log, qtbot) -> None:
    closed_on: list[threading.Thread] = []

    def job() -> Generator[Progress, None, None]:
        try:
            while True:
                time.sleep(0.01)
                yield Progress(0, 1, "working")
        finally:
            closed_on.append(threading.current_thread())

    log.runner.start(job, "testing")
    qtbot.waitUntil(lambda: len(log.progress) > 2)
    log.runner.cancel()
    assert log.runner.cancelling
    qtbot.waitUntil(lambda: log.ends == 1)
    assert len(closed_on) == 1 and closed_on[0] is not threading.main_thread()
    assert log.results == []


def test_nothing_is_heard_of_an_abandoned_job(log, qtbot) -> None:
    closed = threading.Event()

    def job() -> Generator[Progress, None, None]:
        try:
            while True:
                time.sleep(0.01)
                yield Progress(0, 1, "working")
        finally:
            closed.set()

    log.runner.start(job, "testing")
    qtbot.waitUntil(lambda: len(log.progress) > 1)
    log.runner.abandon()
    heard = len(log.progress)
    qtbot.waitUntil(closed.is_set)
    qtbot.wait(50)
    assert len(log.progress) == heard and log.ends == 0


@pytest.mark.parametrize("moment", ["before it begins", "at work", "at the end"])
def test_nothing_of_a_job_is_kept_when_it_is_over(log, qtbot, moment: str) -> None:
    """Also not until the garbage collector comes by: a slide is large."""

    class Thing:
        pass

    def job_on(thing: Thing) -> Callable[[], Generator[Progress, None, Thing]]:
        def job() -> Generator[Progress, None, None]:
            for _ in range(3 if moment == "at the end" else 1000):
                time.sleep(0.001)
                yield Progress(0, 1, str(thing))

        return job

    thing = Thing()
    held = ref(thing)
    gc.disable()
    try:
        log.runner.start(job_on(thing), "testing")
        del thing
        if moment == "at work":
            qtbot.waitUntil(lambda: len(log.progress) > 1)
        if moment != "at the end":
            log.runner.abandon()
        qtbot.waitUntil(lambda: held() is None)
    finally:
        gc.enable()


def test_a_closed_runner_waits_for_its_job_to_let_go(log, qtbot) -> None:
    closed = threading.Event()

    def job() -> Generator[Progress, None, None]:
        try:
            while True:
                time.sleep(0.05)
                yield Progress(0, 1, "working")
        finally:
            closed.set()

    log.runner.start(job, "testing")
    qtbot.waitUntil(lambda: len(log.progress) > 0)
    log.runner.close()
    assert closed.is_set() and not log.runner.running


def test_the_window_knows_of_a_running_job(log, qtbot) -> None:
    release = threading.Event()

    def job() -> Generator[Progress, None, None]:
        yield Progress(0, 1, "working")
        release.wait(10)

    viewer = log.runner._viewer
    log.runner.start(job, "ZoomMIL is reading small.tif")
    qtbot.waitUntil(lambda: len(log.progress) == 1)
    status = viewer.window._task_status_manager.get_status()
    assert any("ZoomMIL is reading small.tif" in line for line in status)
    release.set()
    qtbot.waitUntil(lambda: log.ends == 1)
    assert not viewer.window._task_status_manager.is_busy()


@pytest.mark.parametrize("abandoned", [True, False])
def test_callbacks_that_qt_keeps_hold_no_runner(qtbot, abandoned: bool) -> None:
    """It deletes them late: here the worker, which has them, is still there."""

    class Thing:
        pass

    def job() -> Generator[int, None, None]:
        for number in range(3):
            time.sleep(0.01)
            yield number

    thing, ended = Thing(), threading.Event()
    held = ref(thing)
    runner = JobRunner(None, lambda _, kept=thing: None, lambda _: None, lambda _: ended.set(), quiet=True)
    runner.start(job)
    worker = runner._worker
    if abandoned:
        runner.abandon()
    qtbot.waitUntil(lambda: ended.is_set() or (abandoned and not worker.is_running))
    del runner, thing
    gc.collect()
    assert held() is None and worker is not None


class Slide:
    """What a job is of, as far as its runner knows."""

    outdated = Signal()

    def __init__(self) -> None:
        self.generation = 0

    def outdate(self) -> None:
        self.generation += 1
        self.outdated.emit()


@pytest.fixture
def quiet(qtbot) -> Log:
    """A runner that needs no window."""
    return Log(None, quiet=True)


def test_nothing_is_heard_of_a_job_whose_slide_became_another_one(quiet, qtbot) -> None:
    closed, slide = threading.Event(), Slide()

    def job() -> Generator[int, None, str]:
        try:
            for number in range(1000):
                time.sleep(0.01)
                yield number
            return "done"
        finally:
            closed.set()

    quiet.runner.start(job, of=slide)
    qtbot.waitUntil(lambda: len(quiet.progress) > 1)
    slide.outdate()
    heard = len(quiet.progress)
    qtbot.waitUntil(lambda: quiet.ends == 1)
    assert closed.is_set() and len(quiet.progress) == heard and quiet.results == []
    assert quiet.failure == OUTDATED and len(slide.outdated) == 0


def test_a_result_that_waits_for_the_window_when_its_slide_changes_is_dropped(quiet, qtbot) -> None:
    slide, ended = Slide(), threading.Event()

    def job() -> Generator[int, None, str]:
        yield 1
        ended.set()
        return "of the old pixels"

    quiet.runner.start(job, of=slide)
    assert ended.wait(10)
    time.sleep(0.05)  # the result is on its way to the window, which is busy
    slide.outdate()
    qtbot.waitUntil(lambda: quiet.ends == 1)
    assert quiet.results == [] and quiet.progress == [] and quiet.failure == OUTDATED


def test_a_job_that_begins_after_the_change_counts(quiet, qtbot) -> None:
    slide = Slide()
    slide.outdate()
    quiet.runner.start(lambda: (one for one in (1, 2)), of=slide)
    qtbot.waitUntil(lambda: quiet.ends == 1)
    assert quiet.progress == [1, 2] and quiet.failure is None


def test_a_quiet_look_fails_without_a_notification(quiet, qtbot) -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise KeyError("gone")

    before = len(notification_manager.records)
    quiet.runner.start(broken)
    qtbot.waitUntil(lambda: quiet.ends == 1)
    assert "gone" in quiet.failure and len(notification_manager.records) == before


def test_of_two_looks_the_last_counts(quiet, qtbot) -> None:
    go = threading.Event()

    def slow() -> Generator[str, None, None]:
        go.wait(10)
        yield "old"

    quiet.runner.start(slow)
    quiet.runner.abandon()
    quiet.runner.start(lambda: iter(("new",)))
    go.set()
    qtbot.waitUntil(lambda: not quiet.runner.running)
    qtbot.wait(100)
    assert quiet.progress == ["new"]
