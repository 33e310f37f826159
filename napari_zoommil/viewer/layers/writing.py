"""Source of an edit of a layer: its document, or the user with napari's tools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Writing:
    """True while a layer is updated from its document, so that the update is not applied to the document."""

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
