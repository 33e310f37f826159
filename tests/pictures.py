"""Takes the README's pictures: the demo at three moments of its run, in a real window.

xvfb-run -a -s "-screen 0 1600x1200x24" python tests/pictures.py resources/pictures
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer.launch import open_viewer
from napari_zoommil.viewer.overlays import MAP
from napari_zoommil.viewer.slide_layer import TITLE

SIZE = (1500, 950)
SECONDS = 180


def wait(until: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()


def filled(viewer: napari.Viewer, title: str) -> int:
    """Patches that a map shows so far."""
    for layer in viewer.layers:
        if layer.metadata.get(TITLE) == title and MAP in layer.metadata:
            return int(np.isfinite(layer.data).sum())
    return 0


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    viewer, dock = open_viewer(synthetic_slide())
    viewer.window.resize(*SIZE)
    wait(lambda: False, 0.5)
    viewer.reset_view()
    dock.run_when_ready()
    moments: tuple[Callable[[], bool], ...] = (
        lambda: filled(viewer, "attention 5x") > 0,
        lambda: filled(viewer, "attention 10x") > 0,
        lambda: dock._entry is not None and dock._entry.prediction is not None,
    )
    for number, moment in enumerate(moments, 1):
        wait(moment)
        wait(lambda: False, 0.3 if number == 3 else 0.05)
        viewer.screenshot(folder / f"demo-{number}.png", canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
