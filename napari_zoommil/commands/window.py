"""``demo`` and ``open``: commands that open a window."""

from __future__ import annotations

from pathlib import Path

from napari_zoommil.commands.options import Mpp


def demo(*, headless: Path | None = None) -> None:
    """Show the sample slide.

    Parameters
    ----------
    headless : Path, optional
        Write images and a report into this folder instead of opening a window.
    """
    from napari_zoommil.commands.demo import run_demo

    run_demo(headless)


def open_slide(slide: Path, *, mpp: Mpp = None, icc: bool = False) -> None:
    """Show a slide.

    Parameters
    ----------
    slide : Path
        Slide file, DICOM folder or OME-Zarr folder.
    icc : bool
        Convert pixels to sRGB by the slide's colour profile, if it has one.
    """
    from napari_zoommil.commands.display import require_display
    from napari_zoommil.slides import Slide

    Slide.open(slide, mpp, icc).close()  # report errors before a window is opened
    require_display()
    from napari_zoommil.viewer.launch import show_slide

    show_slide(slide, mpp, icc)
