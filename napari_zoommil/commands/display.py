"""Check whether windows can be shown, and what is missing otherwise. Does not import Qt."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.util import find_spec

from napari_zoommil.errors import DisplayError

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libOpenGL.so.0": "libopengl0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
"""Shared libraries for Qt's X11 windows, with the Debian package of each.

Qt aborts the process if one of them is missing, so they are checked first.
"""

BINDINGS = ("PyQt6", "PySide6", "PyQt5")


def has_display() -> bool:
    """Whether there is a display."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def missing_packages() -> list[str]:
    """Debian packages for windows that are not installed."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing


def require_display() -> None:
    """Check that windows can be shown.

    Raises
    ------
    DisplayError
        If not, with what to install or set.
    """
    if not has_display():
        raise DisplayError(
            "there is no display; set DISPLAY, or use a command that writes files, "
            "such as 'napari-zoommil predict'"
        )
    if not any(find_spec(name) for name in BINDINGS):
        raise DisplayError("no Qt binding is installed; install one with: pip install 'napari-zoommil[all]'")
    missing = missing_packages()
    if missing:
        raise DisplayError(
            f"Qt's system libraries are missing; on Debian: apt-get install {' '.join(missing)}"
        )
