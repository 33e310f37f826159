"""Label, macro and thumbnail of a slide in a small window of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent, QImage, QPixmap
from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.plain_text import plain_label

EDGE_PX = 360
"""Longest edge of an image on screen."""

ORDER = ("label", "macro", "thumbnail")


class AssociatedWindow(QScrollArea):
    """The images that are stored beside a slide's pixels.

    They are read when the window is opened, and nowhere kept: they can show a patient's name.

    Parameters
    ----------
    parent : QWidget
        With which it closes.
    slide : Slide
    closed : callable
        Called when the user closes it.
    """

    def __init__(self, parent: QWidget, slide: Slide, closed: Callable[[], None]) -> None:
        super().__init__(parent.window())
        self.setWindowFlags(Qt.WindowType.Tool)
        self.setWindowTitle(slide.name)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._closed = closed
        body = QWidget()
        column = QVBoxLayout(body)
        for name in named(slide):
            column.addWidget(plain_label(name.capitalize()))
            column.addWidget(_picture(slide, name))
        column.addStretch(1)
        self.setWidget(body)
        self.setWidgetResizable(True)
        size = body.sizeHint()
        self.resize(size.width() + 24, min(size.height() + 24, 640))

    def closeEvent(self, event: QCloseEvent | None) -> None:
        self._closed()
        super().closeEvent(event)


def named(slide: Slide) -> list[str]:
    """Names of a slide's images, label and macro first."""
    return sorted(slide.associated, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def _picture(slide: Slide, name: str) -> QLabel:
    shown = plain_label("")
    try:
        pixels = np.ascontiguousarray(slide.associated_image(name))
    except (ZoomMILError, OSError) as error:
        shown.setText(f"It cannot be read: {error}")
        return shown
    height, width = pixels.shape[:2]
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    edge = min(EDGE_PX, max(height, width))
    shown.setPixmap(
        QPixmap.fromImage(image).scaled(
            edge, edge, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
    )
    return shown
