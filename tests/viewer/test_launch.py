"""Commands that end with their window."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from napari_zoommil.viewer import launch


@pytest.fixture
def handler() -> Iterator[Mock]:
    """What the command line does about SIGTERM."""
    before, own = signal.getsignal(signal.SIGTERM), Mock()
    signal.signal(signal.SIGTERM, own)
    yield own
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("show", [launch.show_slide, launch.show_demo])
@pytest.mark.usefixtures("handler")
def test_a_signal_to_end_ends_a_window_too(show, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(launch, "open_viewer", lambda *_: (Mock(), Mock()))
    monkeypatch.setattr(launch.napari, "run", lambda: seen.append(signal.getsignal(signal.SIGTERM)))
    show(Path("a.svs"))
    assert seen == [signal.SIG_DFL]
