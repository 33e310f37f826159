"""Takes the pictures of the README and the documentation, in a real window.

xvfb-run -a -s "-screen 0 1700x1250x24" python tests/pictures.py resources/pictures [demo] [cells] [explain]
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_zoommil.jobs import detect, prediction_store, run
from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.slides import Slide
from napari_zoommil.slides.samples import sample, synthetic_slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.compat import canvas_widget
from napari_zoommil.viewer.docks.explain.place import PATCH
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.launch import open_viewer
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.layers.view_region import view_region
from napari_zoommil.viewer.legend import CanvasLegend
from napari_zoommil.viewer.session import OpenSlide

SIZE = (1690, 900)
CELLS_SIZE = (1500, 1080)
SECONDS = 300
FLAT = 16
"""Colours of backgrounds and controls, which are kept as they are."""

PLACE = (0.27, 0.48)
"""Share of the sample slide's height and width where cells are marked."""


def wait(until: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()


def demo(folder: Path) -> None:
    """The demo at three moments of its run."""
    viewer, dock = open_viewer(synthetic_slide())
    viewer.window.resize(*SIZE)
    wait(lambda: dock._estimate is not None)
    wait(lambda: False, 0.5)
    camera.fit(viewer, dock._entry.layer)
    _make_room(viewer, dock._entry.slide)

    usual = dock.maps.show_partial

    def show_and_take(entry: OpenSlide, partial: PartialMap) -> None:
        usual(entry, partial)
        complete = np.isfinite(partial.map.values).sum() == dock._estimate.patches[partial.level]
        if complete and partial.level < 2:
            # It would come a moment later.
            canvas_widget(viewer).findChild(CanvasLegend).refresh()
            take(viewer, folder / f"demo-{partial.level + 1}.png")

    dock.maps.show_partial = show_and_take
    dock.run_when_ready()
    wait(lambda: dock._entry is not None and dock._entry.prediction is not None)
    wait(lambda: False, 0.3)
    take(viewer, folder / "demo-3.png")
    viewer.close()


def _make_room(viewer: napari.Viewer, slide: Slide) -> None:
    """Move the slide to the right edge of the canvas: the legend stands at the left."""
    seen = camera.field_of_view(viewer, slide)
    camera.go_to(viewer, slide, 0.5, 1 - seen.width / 2)


def cells(folder: Path) -> None:
    """Marking cells, and a fine-tuning: under way, and its before and after."""
    with TemporaryDirectory() as copy:  # points and models are written beside the slide
        slide = Path(shutil.copy(synthetic_slide(), copy))
        _cells(slide, folder)


def _cells(slide: Path, folder: Path) -> None:
    viewer = napari.Viewer(title="ZoomMIL")
    viewer.window.resize(*CELLS_SIZE)
    data, arguments, _ = open_slide_layer(slide)
    viewer.add_image(data, **arguments)
    tune, notes = show_dock(viewer, "Fine-tune"), show_dock(viewer, "Annotate")
    wait(lambda: False, 1)
    own = notes.current.entry.slide
    camera.set_magnification(viewer, 20)
    camera.go_to(viewer, own, *PLACE)
    wait(lambda: False, 2)
    found = run(detect(own, "yollo", regions=[view_region(viewer, own)])).finds
    sure = found.centres[np.argsort(-found.scores)]
    middle = np.median(sure, 0)
    notes.current.points.rename_class(1, "lymphocyte")
    notes.current.points.resize_class(1, 7.0)
    notes.current.points.add_class("fibroblast", diameter_um=8.0)
    upper, left = (sure < middle).T
    for label, cells in ((1, sure[upper & left]), (2, sure[sure[:, 0] > np.quantile(sure[:, 0], 0.85)])):
        notes._choose(label)
        for place in cells[:: max(1, len(cells) // 30)][:30]:
            notes.current.view.place(place)
    notes.file.name.setText("first reader")
    wait(lambda: False, 2)
    take(viewer, folder / "annotate.png")
    show_dock(viewer, "Fine-tune")
    wait(tune.act.button.isEnabled)
    tune.act.button.click()
    wait(lambda: len(tune.lesson.trace.history) > 7)
    take(viewer, folder / "finetune-1.png")
    wait(lambda: len(tune.lesson.views(viewer)) == 2 and not tune.views.running)
    wait(lambda: False, 2)
    take(viewer, folder / "finetune-2.png")
    viewer.close()


def explain(folder: Path) -> None:
    """Why the sample model says tumour: a map beside the planted region, its test, and inside a patch."""
    with TemporaryDirectory() as copy:  # the region is saved beside the slide
        slide = Path(shutil.copy(synthetic_slide(), copy))
        viewer, attention = open_viewer(slide)
        viewer.window.resize(*CELLS_SIZE)
        attention.run_when_ready()
        wait(lambda: attention._entry is not None and attention._entry.prediction is not None)
        dock = show_dock(viewer, "Explain")
        entry = dock._session.active
        wait(lambda: entry.document is not None)
        points = entry.document.points
        points.rename_class(1, "tumour")
        points.add_region(max((np.asarray(one) for one in sample().outline()), key=len), 1)
        _explain(viewer, dock, folder)
        viewer.close()


def _explain(viewer: napari.Viewer, dock: Any, folder: Path) -> None:
    entry, evaluation = dock._session.active, dock.evaluation
    dock.method.setCurrentIndex(dock.method.findData("grad-cam"))
    dock.act.button.click()
    wait(lambda: evaluation.agreement is not None)
    camera.fit(viewer, dock._entry.layer)
    _make_room(viewer, entry.slide)
    wait(lambda: False, 2)
    take(viewer, folder / "explain-1.png")
    evaluation.act.button.click()
    wait(lambda: evaluation.curves is not None)
    dock.scroll_to(dock.export)
    wait(lambda: False, 2)
    take(viewer, folder / "explain-2.png")
    step = entry.prediction.steps[-1]
    level = entry.prediction.grid.levels[step.level]
    best = step.rows[int(np.argmax(step.scores[:, 0]))]
    dock.place.choice.setCurrentText(PATCH)
    dock.place.at = tuple(map(float, level.origins[best] + np.asarray(level.size) / 2))
    dock.place._picked()
    wait(lambda: dock.explanation is not None and dock.explanation.focus.at is not None)
    camera.set_magnification(viewer, 40)
    camera.go_to(viewer, entry.slide, *(dock.place.at[n] / entry.slide.shape[n] for n in (0, 1)))
    dock.scroll_to(dock.results)
    wait(lambda: False, 3)
    take(viewer, folder / "explain-3.png")


def take(viewer: napari.Viewer, path: Path) -> None:
    """The whole window, in as many colours as it needs."""
    seen = viewer.screenshot(canvas_only=False, flash=False)
    picture = Image.fromarray(seen[..., :3])
    palette = picture.quantize(256 - FLAT, Image.Quantize.MAXCOVERAGE)  # the legend's ramp covers few pixels
    flat = [colour for _, colour in sorted(picture.getcolors(1 << 24) or ())[-FLAT:]]
    palette.putpalette(
        (palette.getpalette() or [])[: 3 * (256 - FLAT)] + [value for one in flat for value in one]
    )
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    target, *names = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as empty:  # as on the first day: no prediction of an earlier one is shown
        prediction_store.folder = lambda: Path(empty)
        made = {"demo": demo, "cells": cells, "explain": explain}
        for name in names or made:
            made[name](Path(target))
