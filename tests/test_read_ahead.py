from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.read_ahead import in_order

NAME = "read-ahead-test"


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith(NAME)]


class Counted:
    """Items that know how many of them were asked for, begun and done."""

    def __init__(self, count: int, seconds: float = 0.0) -> None:
        self.count, self.seconds = count, seconds
        self.asked = self.begun = self.done = self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        for item in range(self.count):
            self.asked += 1
            yield item

    def work(self, item: int) -> int:
        with self._lock:
            self.begun += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self._lock:
            self.at_once -= 1
            self.done += 1
        return item


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 5), st.integers(0, 8))
def test_results_come_in_the_order_of_the_items(naps: list[int], workers: int, ahead: int) -> None:
    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 2000)
        return item[0]

    found = in_order(work, enumerate(naps), workers, ahead, name=NAME)
    assert list(found) == list(range(len(naps)))
    assert not threads()


@pytest.mark.parametrize(("workers", "ahead"), [(1, 0), (2, 1), (4, 6)])
def test_no_more_is_begun_than_may_wait(workers: int, ahead: int) -> None:
    items = Counted(40, 0.001)
    for number, item in enumerate(in_order(items.work, items, workers, ahead, name=NAME), 1):
        time.sleep(0.002)
        assert item == number - 1 and items.asked <= number + ahead and items.begun <= number + ahead
    assert items.done == 40 and items.most_at_once <= workers


def test_work_goes_on_while_the_caller_does_something_else() -> None:
    items = Counted(9)
    found = in_order(items.work, items, 2, 4, name=NAME)
    assert next(found) == 0
    end = time.monotonic() + 5
    while items.done < 5 and time.monotonic() < end:
        time.sleep(0.001)
    assert items.done == 5
    found.close()


def test_closing_stops_within_one_item_per_thread() -> None:
    items = Counted(1000, 0.02)
    found = in_order(items.work, items, 2, 50, name=NAME)
    next(found)
    begun = items.begun
    started = time.monotonic()
    found.close()
    assert time.monotonic() - started < 0.5 and not threads()
    assert items.begun <= begun + 2 and items.done == items.begun


def test_an_error_comes_where_its_result_would() -> None:
    items = Counted(100)

    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return items.work(item)

    found = in_order(work, items, 2, 4, name=NAME)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert not threads() and items.asked <= 8


def test_an_error_of_the_items_ends_the_threads() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("items")

    with pytest.raises(KeyError, match="items"):
        list(in_order(lambda item: item, items(), 2, 4, name=NAME))
    assert not threads()


def test_nothing_is_begun_before_it_is_asked_for() -> None:
    items = Counted(3)
    found = in_order(items.work, items, 2, 2, name=NAME)
    found.close()
    assert items.asked == 0 and not threads()


def test_each_thread_is_prepared() -> None:
    prepared: list[str] = []

    def prepare() -> None:
        prepared.append(threading.current_thread().name)

    def work(_: int) -> str:
        time.sleep(0.01)
        return threading.current_thread().name

    worked = list(in_order(work, range(6), 2, 4, name=NAME, prepare=prepare))
    assert len(prepared) == len(set(prepared)) and set(worked) <= set(prepared)
