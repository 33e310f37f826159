"""Which cell model is taught: a shipped one, one kept on this slide, or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import napari
from napari.utils.notifications import show_error
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget

from napari_zoommil.errors import ModelError
from napari_zoommil.models.folder import read_config, shipped

FOLDER = "Choose a folder…"


class CellModelChoice(QComboBox):
    """The shipped cell models, those kept on the active slide, chosen folders.

    Parameters
    ----------
    parent : QWidget
    changed : callable
        Called when another model is chosen.
    """

    def __init__(self, parent: QWidget, changed: Callable[[], None]) -> None:
        super().__init__()
        self.setToolTip("The model that is taught; it stays as it is, and a new one is made")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self._parent, self._changed = parent, changed
        self._kept: tuple[Path, ...] = ()
        self._folders: list[Path] = []
        self._chosen = next(iter(shipped("cells")), "")
        self._fill()
        self.activated.connect(self._picked)

    @property
    def chosen(self) -> str:
        """What :func:`~napari_zoommil.cells.model.load_cell_model` takes; empty if there is none yet."""
        return self._chosen

    def offer(self, kept: Iterable[Path]) -> None:
        """The kept models of the active slide; what is chosen stays so."""
        if self._kept != tuple(kept):
            self._kept = tuple(kept)
            self._fill()

    def choose(self, folder: Path) -> None:
        """Teach the model in a folder from now on."""
        if folder not in (*self._kept, *self._folders):
            self._folders.append(folder)
        self._chosen = str(folder)
        self._fill()
        self._changed()

    def _fill(self) -> None:
        folders = list(dict.fromkeys((*self._kept, *(one for one in self._folders if one.exists()))))
        with QSignalBlocker(self):
            self.clear()
            for name in shipped("cells"):
                self.addItem(name, name)
            for folder in folders:
                self.addItem(folder.name, str(folder))
                self.setItemData(self.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole)
            if self._chosen and self.findData(self._chosen) < 0:  # kept on another slide
                self.insertItem(self.count(), Path(self._chosen).name, self._chosen)
            self.addItem(FOLDER)
            self.setCurrentIndex(max(0, self.findData(self._chosen)) if self._chosen else self.count() - 1)

    def _picked(self, index: int) -> None:
        data = self.itemData(index)
        if data is not None:
            self._chosen = str(data)
            return self._changed()
        name = QFileDialog.getExistingDirectory(self._parent, "Folder of a cell model")
        try:
            if name:
                read_config(name, "cells")
                return self.choose(Path(name))
        except ModelError as error:
            show_error(str(error))
        self._fill()


def tell_detect_dock(viewer: napari.Viewer, folder: Path) -> None:
    """Offer a kept model in the Detect dock, if that is open."""
    for widget in viewer.window.dock_widgets.values():
        if (add := getattr(widget, "add_model", None)) is not None:
            add(folder)
