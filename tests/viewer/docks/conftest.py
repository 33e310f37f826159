"""Docks in a real viewer, brought up the way the menu does, and a mouse on its canvas."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from napari.layers import Layer
from npe2 import PluginManifest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

import napari_zoommil
from napari_zoommil.familiarity.descriptors import describe
from napari_zoommil.viewer.docks.showing import show_dock

Place = tuple[float, float]
"""x and y on the canvas, px."""

NONE, LEFT = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
STEPS = 8


@pytest.fixture(scope="session")
def dock_names() -> tuple[str, ...]:
    """All docks of the plugin, as its manifest names them."""
    manifest = PluginManifest.from_file(Path(napari_zoommil.__file__).with_name("napari.yaml"))
    return tuple(one.display_name for one in manifest.contributions.widgets or ())


@pytest.fixture(scope="session", autouse=True)
def described_once() -> Iterator[None]:
    """Colour and texture of the same patches are computed once: most of what a run of the demo takes."""
    known: dict[bytes, np.ndarray] = {}

    def described(patches: np.ndarray) -> np.ndarray:
        if not len(patches):
            return describe(patches)
        key = hashlib.sha256(patches.tobytes() + repr(patches.shape).encode()).digest()
        if key not in known:
            known[key] = describe(patches)
        return known[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_zoommil.jobs.familiarity.describe", described)
        yield


@pytest.fixture
def attention(hidden_window) -> tuple:
    """A viewer with the Attention dock."""
    return hidden_window, show_dock(hidden_window, "Attention")


@pytest.fixture
def ready(attention, small_slide, add_slide, qtbot) -> tuple:
    """Viewer, dock and slide layer, the tissue found and the dock ready to run."""
    return (*attention, prepared(*attention, small_slide, add_slide, qtbot))


@pytest.fixture
def ready_alone(make_napari_viewer, small_slide, add_slide, qtbot) -> tuple:
    """The same in a window that is new."""
    viewer = make_napari_viewer()
    dock = show_dock(viewer, "Attention")
    return viewer, dock, prepared(viewer, dock, small_slide, add_slide, qtbot)


def prepared(viewer: napari.Viewer, dock: Any, slide: Path, add_slide: Callable, qtbot: Any) -> Layer:
    layer = add_slide(viewer, slide)
    qtbot.waitUntil(dock.act.button.isEnabled, timeout=60_000)
    return layer


class Mouse:
    """A mouse on the canvas: events of Qt, which go through vispy and napari as those of a hand do.

    Parameters
    ----------
    viewer : napari.Viewer
    wait : callable
        Lets the window work for so many ms: napari drops moves that come too soon.
    """

    def __init__(self, viewer: napari.Viewer, wait: Callable[[int], object]) -> None:
        self.canvas = viewer.window._qt_viewer.canvas.native
        self._wait = wait

    def _send(self, kind: QEvent.Type, place: Place, button: Qt.MouseButton, held: Qt.MouseButton) -> None:
        at, none = QPointF(*place), Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(kind, at, self.canvas.mapToGlobal(at), button, held, none)
        QApplication.sendEvent(self.canvas, event)
        self._wait(15)

    def move(self, place: Place, held: Qt.MouseButton = NONE) -> None:
        self._send(QEvent.Type.MouseMove, place, NONE, held)

    def press(self, place: Place) -> None:
        self._send(QEvent.Type.MouseButtonPress, place, LEFT, LEFT)

    def release(self, place: Place) -> None:
        self._send(QEvent.Type.MouseButtonRelease, place, LEFT, NONE)

    def click(self, place: Place) -> None:
        self.move(place)
        self.press(place)
        self.release(place)

    def double_click(self, place: Place) -> None:
        self.click(place)
        self._send(QEvent.Type.MouseButtonDblClick, place, LEFT, LEFT)
        self.release(place)

    def go_round(self, *corners: Place) -> None:
        """Hold the button from the first corner to the last."""
        self.move(corners[0])
        self.press(corners[0])
        for (x, y), (to_x, to_y) in pairwise(corners):
            for step in range(1, STEPS + 1):
                self.move((x + (to_x - x) * step / STEPS, y + (to_y - y) * step / STEPS), LEFT)
        self.release(corners[-1])


@pytest.fixture
def mouse(qtbot) -> Callable[[napari.Viewer], Mouse]:
    """Makes a mouse on the canvas of a viewer."""
    return lambda viewer: Mouse(viewer, qtbot.wait)
