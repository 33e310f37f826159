from __future__ import annotations

import threading

from napari_zoommil.viewer.looking import Looking


def test_what_is_seen_comes_to_the_window(qtbot) -> None:
    seen, failed = [], []
    looking = Looking(lambda *told: seen.append((*told, threading.current_thread())), failed)
    looking.start("a", lambda: iter((1, 2)))
    qtbot.waitUntil(lambda: not looking.running)
    assert [told[:2] for told in seen] == [("a", 1), ("a", 2)]
    assert {told[2] for told in seen} == {threading.main_thread()} and not failed


def test_a_failure_is_told(qtbot) -> None:
    failed = []

    def broken():
        yield 1
        raise KeyError("gone")

    looking = Looking(lambda *_: None, lambda key, error: failed.append((key, type(error))))
    looking.start("a", broken)
    qtbot.waitUntil(lambda: not looking.running)
    assert failed == [("a", KeyError)]


def test_of_two_looks_the_last_counts(qtbot) -> None:
    seen, go = [], threading.Event()

    def slow():
        go.wait(10)
        yield "old"

    looking = Looking(lambda *told: seen.append(told), lambda *_: None)
    looking.start("a", slow)
    looking.start("b", lambda: iter(("new",)))
    go.set()
    qtbot.waitUntil(lambda: not looking.running)
    qtbot.wait(100)
    assert seen == [("b", "new")]
