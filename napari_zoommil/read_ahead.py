"""Work on the next items goes on, on threads, while somebody uses the last result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_order(
    function: Callable[[A], B],
    items: Iterable[A],
    workers: int,
    ahead: int,
    *,
    name: str = "ahead",
    prepare: Callable[[], object] | None = None,
) -> Generator[B, None, None]:
    """``function(item)`` for each item, in their order, computed ahead on threads.

    Work stops within one item per thread when the generator is closed, or a function has failed; the
    threads have ended then. An error of a function is raised where its result would come.

    Parameters
    ----------
    function : callable
    items : iterable
        Asked for the next item, on the caller's thread, as soon as it may be worked on.
    workers : int
        Threads.
    ahead : int
        Items that are worked on, or done, while the caller has a result.
    name : str
        Of the threads.
    prepare : callable, optional
        Called on each thread before it begins.
    """
    coming: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(workers, name, prepare)
    try:
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
