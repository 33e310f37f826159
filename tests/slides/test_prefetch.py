"""Reading ahead: around what was read, while nobody waits, and no longer than it is of use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_zoommil.errors import SlideError
from napari_zoommil.slides import prefetch as module
from napari_zoommil.slides.prefetch import WANTED, Prefetcher
from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.slides.slide import Slide

SHAPES = ((1000, 800), (250, 170))
EDGE = 100
EDGE = 100
PATIENCE_S = 5.0


def until(happened: Callable[[], object]) -> bool:
    """Whether it happens soon."""
    end = time.monotonic() + PATIENCE_S
    while not happened() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(happened())


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "QUIET_S", 0.02)
    monkeypatch.setattr(module, "IDLE_S", 0.04)
    TILES.clear()
    yield
    assert until(lambda: all(thread.name != "slide-prefetch" for thread in threading.enumerate()))


class Log:
    """A reader that writes down its windows, and fails or waits if told to."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, ...]] = []
        self.times: list[float] = []
        self.error: Exception | None = None

    def __call__(self, *window: int) -> None:
        self.windows.append(window)
        self.times.append(time.monotonic())
        if self.error:
            raise self.error


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def ahead(log: Log) -> Prefetcher:
    return Prefetcher(log, SHAPES, EDGE)


def chunks(level: int, rows: range, columns: range) -> set[tuple[int, ...]]:
    """Windows of the chunks of a level, cut off where it ends."""
    height, width = SHAPES[level]
    places = [(row * EDGE, column * EDGE) for row in rows for column in columns]
    return {(level, y, x, min(EDGE, height - y), min(EDGE, width - x)) for y, x in places}


def ring(level: int, row: int, column: int) -> set[tuple[int, ...]]:
    """The chunks around one that touches no edge."""
    around = chunks(level, range(row - 1, row + 2), range(column - 1, column + 2))
    return around - chunks(level, range(row, row + 1), range(column, column + 1))


@pytest.mark.parametrize(
    ("window", "around", "itself"),
    [
        ((0, 400, 400, 100, 100), (range(3, 6), range(3, 6)), (range(4, 5), range(4, 5))),
        ((0, 0, 0, 100, 100), (range(2), range(2)), (range(1), range(1))),
        ((0, 900, 700, 100, 100), (range(8, 10), range(6, 8)), (range(9, 10), range(7, 8))),
        ((0, 300, 200, 200, 300), (range(2, 6), range(1, 6)), (range(3, 5), range(2, 5))),
        ((0, 450, 330, 1, 80), (range(3, 6), range(2, 6)), (range(4, 5), range(3, 5))),
        ((1, 200, 0, 50, 100), (range(1, 3), range(2)), (range(2, 3), range(1))),
    ],
)
def test_the_chunks_around_a_window_are_read_once(
    ahead: Prefetcher,
    log: Log,
    window: tuple[int, int, int, int, int],
    around: tuple[range, range],
    itself: tuple[range, range],
) -> None:
    expected = chunks(window[0], *around) - chunks(window[0], *itself)
    ahead.viewed(*window)
    assert until(lambda: len(log.windows) == len(expected))
    ahead.viewed(*window)
    assert until(lambda: ahead._thread is None)
    assert len(log.windows) == len(expected) and set(log.windows) == expected


def test_what_was_viewed_itself_is_not_read_again(ahead: Prefetcher, log: Log) -> None:
    with ahead:
        for x in (100, 200, 300):
            ahead.viewed(0, 0, x, 100, 100)
    assert until(lambda: ahead._thread is None)
    assert set(log.windows) == chunks(0, range(2), range(5)) - chunks(0, range(1), range(1, 4))
    assert len(log.windows) == len(set(log.windows))


def test_the_latest_view_comes_first(ahead: Prefetcher, log: Log) -> None:
    with ahead:
        ahead.viewed(0, 100, 100, 100, 100)
        ahead.viewed(0, 700, 500, 100, 100)
    assert until(lambda: len(log.windows) == 16)
    assert set(log.windows[:8]) == ring(0, 7, 5)


def test_it_rests_while_others_read_and_a_moment_longer(ahead: Prefetcher, log: Log) -> None:
    with ahead:
        ahead.viewed(0, 400, 400, 100, 100)
        with ahead:
            time.sleep(0.08)
        time.sleep(0.04)
        assert log.windows == []
        released = time.monotonic()
    assert until(lambda: len(log.windows) == 8)
    assert log.times[0] - released >= 0.02


def test_a_read_from_outside_interrupts_it(log: Log) -> None:
    """It stops between two windows, not after all of them."""
    begun, go_on = threading.Event(), threading.Event()

    def read(*window: int) -> None:
        log(*window)
        begun.set()
        go_on.wait(PATIENCE_S)

    ahead = Prefetcher(read, SHAPES, EDGE)
    ahead.viewed(0, 400, 400, 100, 100)
    assert begun.wait(PATIENCE_S)
    with ahead:
        go_on.set()
        time.sleep(0.08)
        assert len(log.windows) == 1
    assert until(lambda: len(log.windows) == 8)


def test_the_thread_ends_by_itself_and_comes_back(ahead: Prefetcher, log: Log) -> None:
    for y in (200, 600):
        ahead.viewed(0, y, 400, 100, 100)
        thread = ahead._thread
        assert thread is not None and thread.daemon
        assert until(lambda t=thread: not t.is_alive())  # type: ignore[misc]
        assert ahead._thread is None
    assert len(log.windows) == 16


def test_many_views_at_once_start_one_thread(ahead: Prefetcher) -> None:
    def running() -> int:
        return sum(thread.name == "slide-prefetch" for thread in threading.enumerate())

    views = [threading.Thread(target=ahead.viewed, args=(0, 0, x, 100, 100)) for x in range(0, 800, 100)]
    for view in views:
        view.start()
    for view in views:
        view.join()
    assert running() == 1


@pytest.mark.parametrize("error", [SlideError("a.svs was closed"), MemoryError(), ValueError("odd")])
def test_a_failure_ends_this_round_silently_and_not_the_next(
    ahead: Prefetcher, log: Log, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    log.error = error
    ahead.viewed(0, 400, 400, 100, 100)
    assert until(lambda: log.windows and ahead._thread is None)
    assert len(log.windows) == 1
    log.error = None
    ahead.viewed(0, 700, 400, 100, 100)
    assert until(lambda: len(log.windows) > 1 and ahead._thread is None)
    assert capfd.readouterr().err == ""


def test_it_remembers_no_more_than_is_of_use(log: Log) -> None:
    ahead = Prefetcher(log, [(100_000, 100_000)], EDGE)
    with ahead:
        for step in range(300):
            ahead.viewed(0, 300 * step, 300 * step, 100, 100)
        assert len(ahead._wanted) <= WANTED and len(ahead._done) <= 2 * WANTED
        latest = {(level, row * EDGE, column * EDGE, EDGE, EDGE) for level, row, column in ahead._wanted}
    assert until(lambda: ahead._thread is None)
    assert len(log.windows) == len(latest) == WANTED and set(log.windows) == latest


def test_the_tiles_around_a_chunk_of_a_real_slide_are_in_the_cache(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        slide.pyramid()[0][512:1024, 512:1024].compute()
        # Tiles of 240 px under three by three chunks of 512, and the chunk itself.
        around = 7 * 7 * 240 * 240 * 3 + 512 * 512 * 3
        assert until(lambda: TILES.nbytes == around)
        slide.read_level(0, 0, 0, 1536, 1536)
        assert TILES.nbytes == around, "nothing more had to be decoded"


def test_a_slide_that_is_closed_meanwhile_is_no_news(cmu: Path, capfd: pytest.CaptureFixture[str]) -> None:
    slide = Slide.open(cmu)
    slide.pyramid()[0][512:1024, 512:1024].compute()
    slide.close()
    TILES.clear()
    assert until(lambda: all(thread.name != "slide-prefetch" for thread in threading.enumerate()))
    assert capfd.readouterr() == ("", "") and TILES.nbytes == 0
