"""The results of one kind that a slide has: one is shown, and the others can be gone back to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QToolButton, QVBoxLayout, QWidget

from napari_zoommil.jobs import prediction_store
from napari_zoommil.viewer.docks.parts import NarrowComboBox, row
from napari_zoommil.viewer.docks.plain_text import plain_tip
from napari_zoommil.viewer.open_slide import PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.session import Session


class ResultChoice(QWidget):
    """A list of results, the latest first; hidden while there is none.

    Parameters
    ----------
    session : Session
    kind : str
        Of the results.
    outcome : callable
        A result in a few words.
    """

    def __init__(self, session: Session, kind: str, outcome: Callable[[Any], str]) -> None:
        super().__init__()
        self._session, self._kind, self._outcome = session, kind, outcome
        self._entry: OpenSlide | None = None
        self._seen: WeakKeyDictionary[OpenSlide, list[ResultKey]] = WeakKeyDictionary()
        self.list = NarrowComboBox()
        self.list.setMinimumContentsLength(14)
        self.list.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.list.activated.connect(self._chosen)
        self.back = _button("⇄", self.change_over)
        self.back.setToolTip("Change over to the result that was shown before, and back")
        self.remove = _button("✕", self._remove)
        self.remove.setToolTip("Delete this result: it will not be there when the slide is opened again")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row(self.list, self.back, self.remove, stretch=0))

    def show_slide(self, entry: OpenSlide | None) -> None:
        """List the results of a slide."""
        self._entry = entry
        keys = entry.keys(self._kind) if entry else ()
        self.setVisible(bool(keys))
        if entry is None or not keys:
            return
        shown = entry.shown(self._kind)
        assert shown is not None
        with QSignalBlocker(self.list):
            self.list.clear()
            for at, key in enumerate(keys):
                text = described(key, self._outcome(entry.results[key]))
                self.list.addItem(text, key)
                self.list.setItemData(at, plain_tip(text), Qt.ItemDataRole.ToolTipRole)  # the list is narrow
            self.list.setCurrentIndex(keys.index(shown))
        self.list.setToolTip(f"Results of this slide; shown: {self.list.currentText()}")
        seen = [key for key in self._seen.get(entry, ()) if key in keys and key != shown]
        self._seen[entry] = [*seen, shown]
        self.back.setEnabled(len(keys) > 1)

    def change_over(self) -> None:
        """Show the result that was shown before this one; the next older one if there was none."""
        if self._entry is None or len(keys := self._entry.keys(self._kind)) < 2:
            return
        seen = self._seen[self._entry]
        at = keys.index(seen[-1])
        self._session.choose(self._entry, seen[-2] if len(seen) > 1 else keys[(at + 1) % len(keys)])

    def _chosen(self, index: int) -> None:
        if self._entry is not None:
            self._session.choose(self._entry, self.list.itemData(index))

    def _remove(self) -> None:
        if self._entry is not None and (shown := self._entry.shown(self._kind)) is not None:
            self._session.forget(self._entry, shown)
            if shown.kind == PREDICTION:
                prediction_store.forget(self._entry.slide.fingerprint, shown.made)


def described(key: ResultKey, outcome: str, now: datetime | None = None) -> str:
    """``14:32 · tumour 0.98 · demo · all tissue``; with the day, if it was another one."""
    made, now = datetime.fromtimestamp(key.made), now or datetime.now()
    when = f"{made:%H:%M}" if made.date() == now.date() else f"{made.day} {made:%b} {made:%H:%M}"
    return " · ".join(word for word in (when, outcome, Path(key.model).name, key.where) if word)


def _button(text: str, pressed: Callable[[], None]) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.clicked.connect(lambda: pressed())
    return button
