"""Pixels around those in view, decoded quietly while nobody waits for others."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Condition, Thread

from napari_zoommil.errors import SlideError

Window = tuple[int, int, int, int, int]
"""Level; y, x, height and width in its px."""

QUIET_S = 0.05
"""Seconds without a read from outside after which reading ahead begins."""

IDLE_S = 3.0
"""Seconds without work after which the thread ends; it comes back with the next view."""

WANTED = 64
"""Windows kept in mind, the latest first: what a view of twenty chunks has around it."""


class Prefetcher:
    """Reads the ring around windows that are read, so that their tiles lie in the cache.

    Parameters
    ----------
    read : callable
        ``read(level, y, x, height, width)``, for the effect it has on a cache.
    shapes : sequence of (int, int)
        Extent of each level, px.
    """

    def __init__(self, read: Callable[..., object], shapes: tuple[tuple[int, int], ...]) -> None:
        self._read, self._shapes = read, shapes
        self._wanted: OrderedDict[Window, None] = OrderedDict()
        self._done: OrderedDict[Window, None] = OrderedDict()
        self._changed = Condition()
        self._readers = 0
        self._last = 0.0
        self._thread: Thread | None = None

    def __enter__(self) -> None:
        """A read from outside begins: reading ahead rests."""
        with self._changed:
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._readers -= 1
            self._last = time.monotonic()

    def viewed(self, level: int, y: int, x: int, height: int, width: int) -> None:
        """A window came into view: its eight neighbours may be next."""
        with self._changed:
            self._remember((level, y, x, height, width))
            for dy in (-height, 0, height):
                for dx in (-width, 0, width):
                    self._want(level, y + dy, x + dx, height, width)
            if self._wanted and self._thread is None:
                self._thread = Thread(target=self._run, name="slide-prefetch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _want(self, level: int, y: int, x: int, height: int, width: int) -> None:
        window = (level, y, x, height, width)
        inside = 0 <= y < self._shapes[level][0] and 0 <= x < self._shapes[level][1]
        if inside and window not in self._done:
            self._wanted[window] = None
            self._wanted.move_to_end(window)
            if len(self._wanted) > WANTED:
                self._wanted.popitem(last=False)

    def _remember(self, window: Window) -> None:
        """Windows read lately, which the cache still holds."""
        self._wanted.pop(window, None)
        self._done[window] = None
        self._done.move_to_end(window)
        if len(self._done) > 2 * WANTED:
            self._done.popitem(last=False)

    def _run(self) -> None:
        while (window := self._next()) is not None:
            try:
                self._read(*window)
            except SlideError:  # closed, or gone: whoever looks at it will be told
                with self._changed:
                    self._wanted.clear()

    def _next(self) -> Window | None:
        """The window to read, when it is quiet; None when the thread has long had nothing to do."""
        idle_since = time.monotonic()
        with self._changed:
            while True:
                now = time.monotonic()
                quiet = self._readers == 0 and now - self._last >= QUIET_S
                if self._wanted and quiet:
                    window, _ = self._wanted.popitem()
                    self._remember(window)
                    return window
                if not self._wanted and now - idle_since >= IDLE_S:
                    self._thread = None
                    return None
                self._changed.wait(QUIET_S if self._wanted else IDLE_S)
