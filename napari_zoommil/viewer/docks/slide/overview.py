"""The overview map of a slide with the field of view in it: click to go there, drag to pan."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_zoommil.geometry import Box, Pair

FIELD_COLOUR = "#d55e00"
SMALLEST_FIELD_PX = 6.0


class OverviewMap(QWidget):
    """Paints a small image of the slide.

    Parameters
    ----------
    go : callable
        Called with the share (y, x) of the slide, 0 to 1, that was clicked.
    """

    def __init__(self, go: Callable[[float, float], None]) -> None:
        super().__init__()
        self._go = go
        self._image: QImage | None = None
        self._field: Box | None = None
        self.setMinimumHeight(90)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip("Overview with the field of view; click or drag to go there")

    def set_image(self, pixels: np.ndarray | None) -> None:
        """(h, w, 3) uint8, or None for an empty map."""
        if pixels is None:
            self._image = None
        else:
            pixels = np.ascontiguousarray(pixels)
            height, width = pixels.shape[:2]
            self._image = QImage(
                pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
            ).copy()
        self.updateGeometry()
        self.update()

    def set_field(self, field: Box | None) -> None:
        """Field of view in shares of the slide, 0 to 1."""
        self._field = field
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, 160)

    def _frame(self) -> QRectF:
        """Where the image lies in the widget: whole, centred."""
        assert self._image is not None
        scale = min(self.width() / self._image.width(), self.height() / self._image.height())
        width, height = self._image.width() * scale, self._image.height() * scale
        return QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if self._image is None:
            painter.setPen(QColor("#888888"))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "No slide is open")
            return
        frame = self._frame()
        painter.drawImage(frame, self._image)
        if self._field is not None:
            painter.setClipRect(frame)
            painter.setPen(QPen(QColor(FIELD_COLOUR), 2))
            painter.drawRect(self._field_rectangle(frame, self._field))

    def _field_rectangle(self, frame: QRectF, field: Box) -> QRectF:
        width = max(field.width * frame.width(), SMALLEST_FIELD_PX)
        height = max(field.height * frame.height(), SMALLEST_FIELD_PX)
        y = frame.y() + (field.y + field.height / 2) * frame.height()
        x = frame.x() + (field.x + field.width / 2) * frame.width()
        return QRectF(x - width / 2, y - height / 2, width, height)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        self._go_to(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        self._go_to(event)  # Qt reports moves only while a button is held

    def _go_to(self, event: QMouseEvent | None) -> None:
        if self._image is None or event is None:
            return
        frame = self._frame()
        place: QPointF = event.position()
        self._go(*_share(frame, place))


def _share(frame: QRectF, place: QPointF) -> Pair:
    y = (place.y() - frame.y()) / frame.height()
    x = (place.x() - frame.x()) / frame.width()
    return float(np.clip(y, 0, 1)), float(np.clip(x, 0, 1))
