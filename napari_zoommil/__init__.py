"""Whole-slide images, zooming multiple-instance learning and sparse annotation in napari.

Importing this package is cheap: not even NumPy is loaded before it is needed, and neither torch nor Qt until
a job or a window needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_zoommil.slides import Slide

    __version__: str

__all__ = ["Slide", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Slide":
        from napari_zoommil.slides import Slide

        return Slide
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("napari-zoommil")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
