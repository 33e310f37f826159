"""A user of the window: keys and clicks that go through Qt and the canvas as a hand's do."""

from __future__ import annotations

import time
from collections.abc import Callable

import napari
import numpy as np
from numpy.typing import ArrayLike
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_zoommil.slides import Slide
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.metadata import world_scale


class User:
    """Looks at a slide in a viewer, presses keys and clicks on places of the slide."""

    def __init__(self, viewer: napari.Viewer, slide: Slide) -> None:
        self.viewer, self.slide = viewer, slide
        self.canvas = viewer.window._qt_viewer.canvas

    def look(self, magnification: float, y: float, x: float) -> None:
        """Go to a place, level-0 px."""
        camera.set_magnification(self.viewer, magnification)
        camera.go_to(self.viewer, self.slide, y / self.slide.shape[0], x / self.slide.shape[1])
        self.wait(lambda: False, 0.5)

    def on_screen(self, place: ArrayLike) -> QPoint:
        """Pixel of the canvas that shows (y, x) level-0 px."""
        scene, size = self.viewer.scene.camera, np.array(self.canvas.size)
        world = np.asarray(place, float) * world_scale(self.slide)["scale"]
        y, x = size / 2 + (world - np.array(scene.center[-2:])) * scene.zoom
        return QPoint(round(x), round(y))

    def click(self, place: ArrayLike) -> None:
        """Click on (y, x) level-0 px."""
        at = self.on_screen(place)
        QTest.mouseMove(self.canvas.native, at)
        QTest.mouseClick(self.canvas.native, Qt.MouseButton.LeftButton, pos=at)
        QApplication.processEvents()

    def press(self, key: Qt.Key) -> None:
        """Press a key over the canvas."""
        self.canvas.native.setFocus()
        QTest.keyClick(self.canvas.native, key)
        QApplication.processEvents()

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Let the window work until something is so, or so long; whether it is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.002)
        return until()
