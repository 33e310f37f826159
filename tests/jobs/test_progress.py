from __future__ import annotations

import pytest

from napari_zoommil.jobs import Job, Progress, run

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
