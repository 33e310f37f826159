"""Docks of the plugin share one place, whichever way they are opened."""

from __future__ import annotations

import pytest
from napari._app_model import get_app_model
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QTabBar, QWidget

from napari_zoommil.viewer.docks.page import Page
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.docks.tabs import dock_of

NAMES = {
    "slide": "Slide",
    "attention": "Attention",
    "explain": "Explain",
    "annotate": "Annotate",
    "detect": "Detect cells",
    "finetune": "Fine-tune",
    "cohort": "Cohort",
}
SMALL = (1280, 760)
"""A small screen, less the desk's bars."""


@pytest.fixture
def small_window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*SMALL)
    return viewer


def choose_in_menu(name: str) -> None:
    """As Plugins › ZoomMIL does."""
    get_app_model().commands.execute_command(f"napari-zoommil.{name}").result()


def pages_of(viewer) -> dict[str, QWidget]:
    return {name: page for name, page in viewer.window.dock_widgets.items() if isinstance(page, Page)}


@pytest.mark.parametrize("by_menu", [True, False])
def test_all_docks_are_tabs_of_one_place(small_window, qtbot, by_menu) -> None:
    window = small_window.window._qt_window
    for name, title in NAMES.items():
        if by_menu:
            choose_in_menu(name)
        else:
            show_dock(small_window, title)
        page = pages_of(small_window)[f"{title} (ZoomMIL)"]
        qtbot.waitUntil(lambda page=page: page.visibleRegion().boundingRect().height() > 0.8 * SMALL[1])
    docks = [dock_of(page) for page in pages_of(small_window).values()]
    assert len(docks) == len(NAMES)
    assert set(window.tabifiedDockWidgets(docks[0])) == set(docks[1:])
    assert (window.width(), window.height()) == SMALL, "the window did not grow"
    bar = next(bar for bar in window.findChildren(QTabBar) if bar.count() == len(NAMES))
    assert bar.sizeHint().width() <= bar.width(), "every title is to be read"


def test_menu_and_command_mean_the_same_dock(small_window, qtbot) -> None:
    page = show_dock(small_window, "Slide")
    choose_in_menu("slide")  # napari's own entry: hides what is shown
    assert list(pages_of(small_window).values()) == [page] and not page.isVisible()
    assert show_dock(small_window, "Slide") is page and page.isVisible()


def test_a_dock_that_was_moved_elsewhere_stays_there(small_window, qtbot) -> None:
    first, second = (show_dock(small_window, name) for name in ("Annotate", "Fine-tune"))
    qtbot.wait(50)
    window, moved = small_window.window._qt_window, dock_of(second)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, moved)
    moved.hide()
    assert show_dock(small_window, "Fine-tune") is second
    qtbot.wait(50)
    assert window.dockWidgetArea(moved) == Qt.DockWidgetArea.LeftDockWidgetArea
    assert dock_of(first) not in window.tabifiedDockWidgets(moved)


def test_a_page_outside_of_a_window_joins_nothing(qtbot) -> None:
    page, dock = Page(), QDockWidget()
    qtbot.addWidget(dock)
    dock.setWidget(page)
    dock.show()
    qtbot.wait(50)
    assert dock_of(page) is dock and page.isVisible()
