"""Whole-slide images, zooming multiple-instance learning and sparse annotation in napari.

Importing this package is cheap: neither torch nor Qt is loaded until a job or a window needs them.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from napari_zoommil.slides import Slide

try:
    __version__ = version("napari-zoommil")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Slide", "__version__"]
