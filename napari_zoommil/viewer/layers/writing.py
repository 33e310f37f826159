"""Who edits a layer that is a view of a document: the document, or the user with napari's tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Writing:
    """True while what happens to a layer comes from its document, and so does not go back to it."""

    def __init__(self) -> None:
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
