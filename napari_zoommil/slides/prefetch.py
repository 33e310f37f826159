"""Pixels around those in view, decoded quietly while nobody waits for others."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Condition, Thread

Chunk = tuple[int, int, int]
"""Level, row and column on the lattice of chunks that a viewer asks for."""

QUIET_S = 0.05
"""Seconds without a read from outside after which reading ahead begins."""

IDLE_S = 3.0
"""Seconds without work after which the thread ends; it comes back with the next view."""

WANTED = 64
"""Chunks kept in mind, the latest first: what a view of forty has around it."""


class Prefetcher:
    """Reads the ring of chunks around those that are read, so that their tiles lie in the cache.

    Parameters
    ----------
    read : callable
        ``read(level, y, x, height, width)``, for the effect it has on a cache.
    shapes : sequence of (int, int)
        Extent of each level, px.
    edge : int
        Of a chunk, px.
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
        """A read from outside begins: reading ahead rests."""
        with self._changed:
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._readers -= 1
            self._last = time.monotonic()

    def viewed(self, level: int, y: int, x: int, height: int, width: int) -> None:
        """A window came into view: the chunks around it may be next."""
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
        """Chunks read lately, which the cache still holds."""
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
            except Exception:  # closed, gone, out of memory: whoever looks at it will be told
                with self._changed:
                    self._wanted.clear()

    def _next(self) -> Chunk | None:
        """The chunk to read, when it is quiet; None when the thread has long had nothing to do."""
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
