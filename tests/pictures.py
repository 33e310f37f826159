"""Takes the README's pictures: the demo at three moments of its run, in a real window.

xvfb-run -a -s "-screen 0 1600x1200x24" python tests/pictures.py resources/pictures
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer.launch import open_viewer
from napari_zoommil.viewer.session import OpenSlide

SIZE = (1500, 950)
SECONDS = 180


def wait(until: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    viewer, dock = open_viewer(synthetic_slide())
    viewer.window.resize(*SIZE)
    wait(lambda: dock._estimate is not None)
    wait(lambda: False, 0.5)
    viewer.reset_view()

    def take(number: int) -> None:
        viewer.screenshot(folder / f"demo-{number}.png", canvas_only=False, flash=False)

    usual = dock.maps.show_partial

    def show_and_take(entry: OpenSlide, partial: PartialMap) -> None:
        usual(entry, partial)
        complete = np.isfinite(partial.map.values).sum() == dock._estimate.patches[partial.level]
        if complete and partial.level < 2:
            take(partial.level + 1)

    dock.maps.show_partial = show_and_take
    dock.run_when_ready()
    wait(lambda: dock._entry is not None and dock._entry.prediction is not None)
    wait(lambda: False, 0.3)
    take(3)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
