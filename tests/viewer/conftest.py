"""Viewers: a model without a window, one window for the tests of a module, and a slide in either."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import napari
import pytest
from napari._app_model import get_app_model
from napari._qt.qt_viewer import QtViewer
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QWidget

from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.triton import load_triton_apart

load_triton_apart()  # tests that run later in this process may load timm


@pytest.fixture
def add_slide() -> Callable[[napari.Viewer, Path], Image]:
    """Add a slide to a viewer as the reader does."""

    def add(viewer: napari.Viewer, path: Path) -> Image:
        data, arguments, _ = open_slide_layer(path)
        return viewer.add_image(data, **arguments)

    return add


@pytest.fixture
def model(qapp) -> ViewerModel:
    """A viewer without a window, for what is no matter of Qt."""
    return ViewerModel()


class _Console(QWidget):
    def _update_theme(self) -> None:
        pass


@pytest.fixture(scope="module")
def _module_window(qapp) -> Iterator[napari.Viewer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None)
        patched.setattr("napari._qt.qt_viewer.QtViewer._get_console", lambda *_: _Console())
        if "napari-zoommil.read" in get_app_model().commands:  # napari's own fixture forgets that they are
            patched.setattr("napari.plugins._initialize_plugins", lambda: None)
        viewer = napari.Viewer(show=True, show_welcome_screen=False)
        QtViewer._instances.clear()  # a test of the module may make a window of its own, and napari counts
        yield viewer
        with patch.object(viewer.window._qt_window, "_save_current_window_settings"):
            viewer.close()
    del viewer
    gc.collect()


@pytest.fixture
def window(_module_window, qtbot) -> Iterator[napari.Viewer]:
    """A real window that the tests of a module share: making one takes seconds. Each finds it empty."""
    viewer = _module_window
    viewer.reset_view()
    session = session_of(viewer)
    annotator, callbacks = session.documents.annotator, list(viewer.mouse_drag_callbacks)
    yield viewer
    viewer.window.remove_dock_widget("all")
    viewer.layers.clear()
    session.documents.annotator = annotator
    qtbot.wait(10)
    assert session.slides == () and not viewer.keymap and viewer.mouse_drag_callbacks == callbacks
