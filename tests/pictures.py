"""Takes the README's pictures: the demo at three moments of its run, in a real window.

    xvfb-run -a -s "-screen 0 1600x1200x24" python tests/pictures.py resources/pictures
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from qtpy.QtWidgets import QApplication

from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.slides.samples import synthetic_slide
from napari_zoommil.viewer.launch import open_viewer

SIZE = (1500, 950)
SECONDS = 180


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    viewer, dock = open_viewer(synthetic_slide())
    viewer.window.resize(*SIZE)
    app = QApplication.instance()
    assert app is not None
    taken: list[int] = []

    def settle(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            app.processEvents()

    def take(number: int) -> None:
        settle(0.2)
        viewer.reset_view()
        settle(0.3)
        viewer.screenshot(folder / f"demo-{number}.png", canvas_only=False, flash=False)

    usual = dock._progress

    def watch(progress: Progress) -> None:
        usual(progress)
        partial = progress.partial
        if isinstance(partial, PartialMap) and partial.level not in taken and partial.level < 2:
            known = int((partial.map.values == partial.map.values).sum())
            if known == len(progress_rows(partial.level)) or partial.level not in counts:
                counts[partial.level] = known

    counts: dict[int, int] = {}

    def progress_rows(level: int) -> range:
        return range(counts.get(level, 0))

    dock.run_when_ready()
    del watch
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and (dock._entry is None or dock._entry.prediction is None):
        app.processEvents()
        titles = [layer.metadata.get("title", "") for layer in viewer.layers]
        for number, title in ((1, "attention 5x"), (2, "attention 10x")):
            if title in titles and number not in taken:
                taken.append(number)
                take(number)
    take(3)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
