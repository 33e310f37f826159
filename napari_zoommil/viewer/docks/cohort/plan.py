"""The plan of a training: a line for each choice with its reason, to be changed before it begins."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_zoommil.jobs.train_choices import Choices
from napari_zoommil.viewer.docks.cohort.table import plain

COLUMNS = ("Choice", "Value", "Reason")
WIDTHS = (96, 64)
"""Of the first columns; reasons have what is left, and wrap."""

HEIGHT = 240
"""Of the table, px."""


class PlanTable(QTableWidget):
    """Choices of a training; values are changed in place."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self._choices: Choices = ()
        self._is_from_file = False
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setFixedHeight(HEIGHT)
        lines, header = self.verticalHeader(), self.horizontalHeader()
        assert lines is not None and header is not None
        lines.hide()
        lines.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for at, width in enumerate(WIDTHS):
            self.setColumnWidth(at, width)
        self.setToolTip("Double click or F2: change a value")
        self.show_choices(())

    def show_choices(self, choices: Choices, from_file: bool = False) -> None:
        """A line for each choice; hidden where there are none.

        Parameters
        ----------
        choices : tuple of Choice
        from_file : bool
            Whether they are those of a file, which are to be followed as they stand.
        """
        self._choices, self._is_from_file = choices, from_file
        with QSignalBlocker(self):
            self.setRowCount(len(choices))
            for line, one in enumerate(choices):
                for at, text in enumerate((one.name, written(one.value), one.reason)):
                    item = QTableWidgetItem(text)
                    if at != 1:
                        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                    item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
                    item.setToolTip(plain(one.line))
                    self.setItem(line, at, item)
        self.setVisible(bool(choices))

    @property
    def choices(self) -> Choices:
        """The choices with the values as they stand in the table."""
        return tuple(
            one if (text := self._text(line)) == written(one.value) else replace(one, value=read(text))
            for line, one in enumerate(self._choices)
        )

    @property
    def is_changed(self) -> bool:
        """Whether a value is another than the one that the settings lead to."""
        return self._is_from_file or self.choices != self._choices

    def _text(self, line: int) -> str:
        item = self.item(line, 1)
        return item.text().strip() if item is not None else ""


def written(value: Any) -> str:
    """A value as it is shown: ``5, 10, 20``, ``none``, ``true``."""
    if isinstance(value, list | tuple):
        return ", ".join(map(written, value))
    if value is None or isinstance(value, bool | dict):
        return "none" if value is None else json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def read(text: str) -> Any:
    """A value from its text; what it must be is checked where it is used."""
    if "," in text and not text.startswith("{"):
        return [read(part) for part in text.split(",") if part.strip()]
    text = text.strip()
    if text.lower() in ("none", ""):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
