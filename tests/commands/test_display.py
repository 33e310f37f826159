"""What is missing for a window is named before Qt is touched."""

from __future__ import annotations

import sys

import pytest

from napari_zoommil.commands import display
from napari_zoommil.errors import DisplayError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems bring Qt's libraries")


@linux
def test_missing_libraries_are_named_as_debian_packages(monkeypatch) -> None:
    monkeypatch.setattr(display, "has_display", lambda: True)
    monkeypatch.setattr(display, "LIBRARIES", {"libnot-there.so.9": "libnot-there9"})
    with pytest.raises(DisplayError, match="apt-get install libnot-there9"):
        display.require_display()


@linux
def test_no_display(monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not display.has_display()
    with pytest.raises(DisplayError, match="no display"):
        display.require_display()


def test_no_binding(monkeypatch) -> None:
    monkeypatch.setattr(display, "has_display", lambda: True)
    monkeypatch.setattr(display, "BINDINGS", ("NoSuchQt",))
    with pytest.raises(DisplayError, match="pip install"):
        display.require_display()
