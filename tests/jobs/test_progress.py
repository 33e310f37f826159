from __future__ import annotations

import pytest

from napari_zoommil.jobs import Job, Progress, run
from napari_zoommil.jobs.progress import TimeLeft, duration

closed: list[bool] = []


def count(to: int) -> Job[str]:
    try:
        for done in range(1, to + 1):
            yield Progress(done, to, "counting")
        return "counted"
    finally:
        closed.append(True)


@pytest.fixture(autouse=True)
def fresh() -> None:
    closed.clear()


def test_run_gives_the_result() -> None:
    seen: list[Progress] = []
    assert run(count(3), seen.append) == "counted"
    assert [progress.done for progress in seen] == [1, 2, 3]
    assert run(count(0)) == "counted"


def test_an_exception_in_the_listener_cancels() -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(count(3), stop)
    assert closed == [True]


def test_an_exception_in_the_job_is_raised() -> None:
    def broken() -> Job[None]:
        yield Progress(0, 1, "")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(broken())


def lefts(places: list[tuple[float, int]], total: int = 100) -> list[float | None]:
    """What is told at (second, done)."""
    now = [0.0]
    left, found = TimeLeft(lambda: now[0]), []
    for now[0], done in places:
        found.append(left.told(Progress(done, total, "")).seconds_left)
    return found


def test_the_time_left_of_a_steady_work_is_right_from_the_third_second() -> None:
    found = lefts([(float(second), second) for second in range(100)])
    assert found[:2] == [None, None] and found[2] == pytest.approx(98)
    assert found[50] == pytest.approx(50) and found[99] == pytest.approx(1)


def test_what_is_done_at_once_is_not_taken_for_the_pace() -> None:
    """Patches from the cache count at the start of a magnification."""
    found = lefts([(0.0, 0), (0.1, 60), (1.0, 61), (2.5, 62), *((4.0 + n, 63 + n) for n in range(20))])
    assert found[-1] == pytest.approx(18, rel=0.1)


def test_a_slow_start_is_forgotten() -> None:
    found = lefts([(0.0, 0), (20.0, 1), *((20.0 + n, 1 + n) for n in range(1, 60))])
    assert found[2] > 300 and found[-1] == pytest.approx(40, rel=0.05)


def test_short_work_and_work_that_stands_still_are_not_told() -> None:
    assert set(lefts([(n / 20, n) for n in range(100)])) == {None}, "five seconds"
    assert set(lefts([(float(n), 5) for n in range(60)])) == {None}


def test_each_piece_of_work_is_told_by_itself() -> None:
    tissue, patches = [(float(n), 25 * n) for n in range(5)], [(4.0 + n, n) for n in range(10)]
    found = lefts([*tissue, *patches])
    assert found[:7] == [None] * 7 and found[-1] == pytest.approx(91)


def test_a_job_that_knows_its_time_left_is_not_corrected() -> None:
    assert TimeLeft().told(Progress(1, 2, "", seconds_left=7.0)).seconds_left == 7.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_durations_are_told_in_fitting_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
