"""Groups of signal connections."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress


class Follower:
    """Signal connections of a dock, disconnected together when it is closed."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def follow(self, signal: object, callback: Callable) -> None:
        """Connect a psygnal or napari signal; :meth:`stop` disconnects it."""
        signal.connect(callback)  # type: ignore[attr-defined]
        self._undo.append(lambda: signal.disconnect(callback))  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Disconnect all."""
        for undo in self._undo:
            with suppress(RuntimeError):  # Qt has already deleted the widget, and napari compares it
                undo()
        self._undo.clear()
