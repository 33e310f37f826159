"""Viewers: a model without a window, one window for the tests of a module, and a slide in either."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import napari
import pytest
from app_model import Application
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.components import ViewerModel
from napari.layers import Image
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_zoommil.viewer import settings
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.legend import CanvasLegend
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.triton import load_triton_apart

load_triton_apart()  # tests that run later in this process may load timm


@pytest.fixture(scope="session", autouse=True)
def manifests_read_once() -> Iterator[None]:
    """Installed plugins are searched for once, not by each window; those without one know them too."""
    found = tuple(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        PluginManager.instance().discover()
        yield


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


class OnlyWindow:
    """A window that tests take one after another; after each it is tidied up, and nothing may be left over.

    It is not for tests of opening and closing a window, of focus, or of what a window keeps alive: those take
    ``make_napari_viewer``.
    """

    def __init__(self) -> None:
        self.viewer: napari.Viewer | None = None
        self._ending = ExitStack()

    def open(self, show: bool) -> napari.Viewer:
        """The window, without slides and docks."""
        if self.viewer is not None and self._shown != show:
            self.close()
        if self.viewer is None:
            self._make(show)
        assert self.viewer is not None
        session_of(self.viewer).documents.annotator = settings.annotator()
        return self.viewer

    def _make(self, show: bool) -> None:
        """As napari's fixture does: with actions of its own, and without the thread of the status bar."""
        get_settings().reset()
        forget_actions()
        app = NapariApplication("tests")
        app.injection_store.namespace = _napari_names
        self._ending.callback(forget_actions)
        self._ending.callback(Application.destroy, "tests")
        self._ending.enter_context(patch.object(NapariApplication, "get_app_model", return_value=app))
        self._ending.enter_context(patch("napari._qt.threads.status_checker.StatusChecker.start"))
        self._shown, self.viewer = show, napari.Viewer(show=show, show_welcome_screen=False)
        session_of(self.viewer)
        self.viewer.canvas.overlays.scale_bar.visible = True  # when first shown, it follows the camera
        work_off()
        self._placed = [(part, name, getattr(part(self.viewer), name)) for part, name in PLACES]
        self._first = state_of(self.viewer)

    def tidy(self) -> None:
        """Close the docks, remove the layers, forget what the session was told, and look for what is left."""
        viewer = self.viewer
        if viewer is None:
            return
        assert hasattr(viewer.window, "_qt_window"), "a test has closed the window that others use"
        viewer.window.remove_dock_widget("all")
        viewer.layers.clear()
        viewer.window._qt_window.resize(self._first["size"])
        session = session_of(viewer)
        session.encoders.clear()
        session.kept.clear()
        session.cohort = None
        for part, name, value in self._placed:
            setattr(part(viewer), name, value)
        for note in viewer.window._qt_window.findChildren(NapariQtNotification):
            note.close()
        for legend in viewer.window._qt_window.findChildren(CanvasLegend):
            legend.fold(False)
        work_off()
        left = self._left()
        if left:
            gc.collect()
            left = self._left()
        assert not left, f"a test left over in the window that others use (before, now): {left}"

    def _left(self) -> dict[str, tuple[Any, Any]]:
        """What is not as it was in the beginning: what it was, and is."""
        assert self.viewer is not None
        now = state_of(self.viewer)
        return {name: (was, now[name]) for name, was in self._first.items() if was != now[name]}

    def close(self) -> None:
        """Close the window, and let go of what it held."""
        viewer, self.viewer = self.viewer, None
        if viewer is None:
            return
        if hasattr(viewer.window, "_qt_window"):
            with patch.object(viewer.window._qt_window, "_save_current_window_settings"):
                viewer.close()
        del viewer
        self._placed, self._first = [], {}
        self._ending.close()
        work_off()
        gc.unfreeze()  # it may have been left out of collections, with what tests have imported
        gc.collect()
        gc.freeze()


PLACES: tuple[tuple[Callable[[napari.Viewer], Any], str], ...] = (
    *((lambda viewer: viewer.scene.camera, name) for name in ("center", "zoom", "mouse_pan", "mouse_zoom")),
    *((lambda viewer: viewer.cursor, name) for name in ("position", "size", "style")),
    *((lambda viewer: viewer, name) for name in ("help", "status", "title")),
    (lambda viewer: viewer.dims, "ndisplay"),
)
"""What a user of the window may change of it, and the next one does not want to find."""


def forget_actions() -> None:
    """Let the next window register its actions in its own application model."""
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()


def work_off() -> None:
    """Handle all events that wait, also the deletion of widgets."""
    for _ in range(2):
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QApplication.processEvents()


def state_of(viewer: napari.Viewer) -> dict[str, Any]:
    """What there is in a window, and how many listen to it."""
    window, session, events = viewer.window._qt_window, session_of(viewer), viewer.layers.events
    signals = ("activated", "slide_changed", "result_changed", "document_changed", "model_kept", "removed")
    heard: dict[str, Iterable[Any]] = {
        "active": viewer.layers.selection.events.active.callbacks,
        **{f"layers {name}": events[name].callbacks for name in ("inserted", "removed")},
        **{f"camera {name}": viewer.scene.camera.events[name].callbacks for name in ("zoom", "center")},
        **{
            f"mouse {name}": getattr(viewer, f"mouse_{name}_callbacks")
            for name in ("move", "drag", "wheel", "double_click")
        },
    }
    return {name: sum(map(is_alive, each)) for name, each in heard.items()} | {
        **{name: len(getattr(session, name)) for name in signals},
        "said": len(session.documents.said),
        "layers": list(viewer.layers),
        "slides": session.slides,
        "docks": sorted(viewer.window.dock_widgets),
        "running": viewer.window._task_status_manager.is_busy(),
        "keys": sorted(map(str, viewer.keymap)),
        "size": window.size(),
        "seen": window.isVisible(),
        "others": [
            str(one) for one in QApplication.topLevelWidgets() if one.isVisible() and one is not window
        ],
    }


def is_alive(callback: Any) -> bool:
    """Whether a callback will be called; napari keeps a method as a weak reference and a name."""
    return not isinstance(callback, tuple) or callback[0]() is not None


@pytest.fixture(scope="module")
def only_window() -> Iterator[OnlyWindow]:
    """The window of the tests of a module."""
    only = OnlyWindow()
    yield only
    only.close()


def used(only: OnlyWindow, show: bool, request: pytest.FixtureRequest) -> Iterator[napari.Viewer]:
    """The window for one test; one that has failed may leave anything over, and the next gets another."""
    yield only.open(show)
    try:
        if not request.node.rep_call.failed:
            only.tidy()
    except BaseException:
        only.close()
        raise
    if request.node.rep_call.failed:
        only.close()


@pytest.fixture
def window(qtbot, only_window: OnlyWindow, request: pytest.FixtureRequest) -> Iterator[napari.Viewer]:
    """A real window, which the tests of a module use one after another."""
    yield from used(only_window, True, request)


@pytest.fixture
def hidden_window(qtbot, only_window: OnlyWindow, request: pytest.FixtureRequest) -> Iterator[napari.Viewer]:
    """The same, not shown: for what nothing has to be painted, or pointed at on the canvas."""
    yield from used(only_window, False, request)


@pytest.fixture
def no_window(only_window: OnlyWindow) -> None:
    """The window of the module is closed: there is one at a time."""
    only_window.close()


@pytest.fixture
def make_napari_viewer(no_window: None, make_napari_viewer: Any) -> Any:
    """A window of the test's own."""
    return make_napari_viewer
