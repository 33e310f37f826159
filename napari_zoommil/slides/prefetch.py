"""Prefetching: chunks around the view are decoded on a thread while no other read is in progress."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Condition, Thread

Chunk = tuple[int, int, int]
"""Level, row and column on the lattice of chunks that a viewer requests."""

QUIET_S = 0.05
"""Seconds without an outside read after which prefetching starts."""

IDLE_S = 3.0
"""Seconds without work after which the thread ends; the next view starts a new one."""

WANTED = 64
"""Most chunks in the queue, latest first: about the ring around a view of forty chunks."""


class Prefetcher:
    """Reads the ring of chunks around those in view, so that their tiles are in the cache.

    Parameters
    ----------
    read : callable
        ``read(level, y, x, height, width)``; its result is ignored, it fills the cache.
    shapes : sequence of (int, int)
        Extent of each level, px.
    edge : int
        Edge of a chunk, px.
    """

    def __init__(self, read: Callable[..., object], shapes: Sequence[tuple[int, int]], edge: int) -> None:
        self._read, self._shapes, self._edge = read, shapes, edge
        self._wanted: OrderedDict[Chunk, None] = OrderedDict()
        self._done: OrderedDict[Chunk, None] = OrderedDict()
        self._changed = Condition()
        self._readers = 0
        self._last = 0.0
        self._thread: Thread | None = None

    def __enter__(self) -> None:
        """An outside read begins: prefetching pauses."""
        with self._changed:
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._readers -= 1
            self._last = time.monotonic()

    def viewed(self, level: int, y: int, x: int, height: int, width: int) -> None:
        """Queue the chunks around a window that came into view."""
        top, left = y // self._edge, x // self._edge
        bottom, right = (y + height - 1) // self._edge, (x + width - 1) // self._edge
        rows, columns = (-(-extent // self._edge) for extent in self._shapes[level])
        with self._changed:
            for row in range(max(top - 1, 0), min(bottom + 2, rows)):
                for column in range(max(left - 1, 0), min(right + 2, columns)):
                    seen = top <= row <= bottom and left <= column <= right
                    (self._remember if seen else self._want)((level, row, column))
            if self._wanted and self._thread is None:
                self._thread = Thread(target=self._run, name="slide-prefetch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _want(self, chunk: Chunk) -> None:
        if chunk not in self._done:
            self._wanted[chunk] = None
            self._wanted.move_to_end(chunk)
            if len(self._wanted) > WANTED:
                self._wanted.popitem(last=False)

    def _remember(self, chunk: Chunk) -> None:
        """Mark a chunk as read lately, so probably still in the cache."""
        self._wanted.pop(chunk, None)
        self._done[chunk] = None
        self._done.move_to_end(chunk)
        if len(self._done) > 2 * WANTED:
            self._done.popitem(last=False)

    def _run(self) -> None:
        while (chunk := self._next()) is not None:
            level, y, x = chunk[0], chunk[1] * self._edge, chunk[2] * self._edge
            height, width = self._shapes[level]
            try:
                self._read(level, y, x, min(self._edge, height - y), min(self._edge, width - x))
            except Exception:  # slide closed or removed, out of memory: an outside read reports it
                with self._changed:
                    self._wanted.clear()

    def _next(self) -> Chunk | None:
        """Wait for a chunk to read and a moment without outside reads; None after ``IDLE_S`` without work."""
        idle_since = time.monotonic()
        with self._changed:
            while True:
                now = time.monotonic()
                quiet = self._readers == 0 and now - self._last >= QUIET_S
                if self._wanted and quiet:
                    chunk, _ = self._wanted.popitem()
                    self._remember(chunk)
                    return chunk
                if not self._wanted and now - idle_since >= IDLE_S:
                    self._thread = None
                    return None
                self._changed.wait(QUIET_S if self._wanted else IDLE_S)
