"""Docks share one place as tabs, however they were opened."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabBar, QWidget

OURS = "napari_zoommil"
"""Property of the docks that share a place."""

NARROW = "QTabBar, QTabBar::tab { font-size: 8pt; } QTabBar::tab { padding: 3px 1px; }"
"""With it seven tabs fit into the width of a page, and each title is to be read."""


def dock_of(page: QWidget) -> QDockWidget | None:
    """The dock that a page is in, where it is in one."""
    widget: QWidget | None = page
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget


def join_others(page: QWidget) -> None:
    """Make the dock of a page a tab where docks of other pages are, and bring it to the front.

    napari puts each new dock below the others: of three none can be read on a usual screen. A dock stays
    where it is if it floats, or is on another side of the window than the others.
    """
    dock = dock_of(page)
    window = dock.parentWidget() if dock is not None else None
    if dock is None or not isinstance(window, QMainWindow):
        return
    dock.setProperty(OURS, True)
    words = dock.windowTitle().split()
    dock.setWindowTitle(words[0] if words else "")  # seven tabs are to fit into the width of a page
    area = window.dockWidgetArea(dock)
    others = [
        one
        for one in window.findChildren(QDockWidget)
        if one is not dock and one.property(OURS) and window.dockWidgetArea(one) == area
        if not one.isFloating() and not one.isHidden()
    ]
    if others and not dock.isFloating() and dock not in window.tabifiedDockWidgets(others[0]):
        window.tabifyDockWidget(others[0], dock)
        for bar in window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            bar.setStyleSheet(NARROW)
    dock.raise_()
