"""Which model a dock uses: a shipped one, one kept on this slide, a folder, or one on the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QInputDialog, QWidget

from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import image_on_slide
from napari_zoommil.model_folder import UNTRAINABLE, Kind, kind_of, read_config, shipped
from napari_zoommil.models.spec import read_spec
from napari_zoommil.viewer.docks.parts import NarrowComboBox
from napari_zoommil.viewer.docks.plain_text import plain_tip
from napari_zoommil.viewer.notifications import show_error

FOLDER, HUB = "Choose a folder…", "Hub name…"

KINDS: dict[Kind, str] = {"cells": "cell model", "mil": "MIL model"}


class ModelChoice(NarrowComboBox):
    """The shipped models of some kinds, those kept on the active slide, chosen folders.

    Parameters
    ----------
    parent : QWidget
    changed : callable
        Called when another model is chosen.
    kinds : tuple of Kind
        What is offered, the first kind first.
    hub : bool
        Whether a name on the hub may be given; of which kind it is shows when it is fetched.
    to_train : bool
        Whether only models that can be trained are offered.
    none : str
        What stands first, for no model, which is chosen at the beginning; empty if there has to be one.
    """

    def __init__(
        self,
        parent: QWidget,
        changed: Callable[[], None],
        kinds: tuple[Kind, ...],
        hub: bool = False,
        to_train: bool = False,
        none: str = "",
    ) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self._parent, self._changed, self._kinds, self._has_hub = parent, changed, kinds, hub
        left_out = UNTRAINABLE if to_train else ()
        self._shipped = tuple(name for kind in kinds for name in shipped(kind) if name not in left_out)
        self._offered: tuple[Path, ...] = ()
        self._kept: tuple[Path, ...] = ()
        self._folders: list[Path] = []
        self._hub: list[str] = []
        self._none = none
        self._chosen = self._shipped[0] if self._shipped and not none else ""
        self._fill()
        self.activated.connect(self._picked)

    @property
    def chosen(self) -> str:
        """What a job takes for its model; empty if there is none yet."""
        return self._chosen

    @property
    def kind(self) -> Kind:
        """Of what is chosen."""
        return kind_of(self._chosen)

    def offer(self, kept: Iterable[Path]) -> None:
        """The kept models of the active slide; what is chosen stays so."""
        if self._offered != (offered := tuple(kept)):
            self._offered = offered
            self._kept = tuple(one for one in offered if kind_of(one) in self._kinds)
            self._fill()

    def choose(self, folder: Path) -> None:
        """Use the model in a folder from now on."""
        if folder not in (*self._kept, *self._folders):
            self._folders.append(folder)
        self._choose(str(folder))

    def _choose(self, name: str) -> None:
        self._chosen = name
        self._fill()
        self._changed()

    def _fill(self) -> None:
        folders = dict.fromkeys((*self._kept, *(one for one in self._folders if one.exists())))
        with QSignalBlocker(self):
            self.clear()
            if self._none:
                self.addItem(self._none, "")
            for name in (*self._shipped, *map(str, folders), *self._hub):
                self._add(name)
            if self._chosen and self.findData(self._chosen) < 0:  # kept on another slide
                self._add(self._chosen)
            self.addItem(FOLDER)
            if self._has_hub:
                self.addItem(HUB)
            first = 0 if self._none else self.findText(FOLDER)
            self.setCurrentIndex(max(0, self.findData(self._chosen)) if self._chosen else first)

    def _add(self, name: str) -> None:
        if name in self._hub:
            return self.addItem(name, name)
        title, is_shipped = title_of(name), name in self._shipped
        self.addItem(title if is_shipped else Path(name).name, name)  # a folder's name may fill the line
        told = title if is_shipped else f"{title}\n{name}"
        self.setItemData(self.count() - 1, plain_tip(told), Qt.ItemDataRole.ToolTipRole)

    def _picked(self, index: int) -> None:
        data, text = self.itemData(index), self.itemText(index)
        if data is not None:
            self._chosen = str(data)
            return self._changed()
        try:
            if self._pick_name() if text == HUB else self._pick_folder():
                return
        except ModelError as error:
            show_error(str(error))
        self._fill()

    def _pick_folder(self) -> bool:
        """Ask for a folder; whether one was given."""
        what = " or ".join(KINDS[kind] for kind in self._kinds)
        name = QFileDialog.getExistingDirectory(self._parent, f"Folder of a {what}")
        if name:
            kind = kind_of(name)
            read_config(name, kind if kind in self._kinds else self._kinds[0])
            self.choose(Path(name))
        return bool(name)

    def _pick_name(self) -> bool:
        name = QInputDialog.getText(self._parent, "Model on the hub", "owner/name")[0].strip()
        if name:
            self._hub = list(dict.fromkeys((*self._hub, name)))
            self._choose(name)
        return bool(name)


def title_of(name: str) -> str:
    """A model with what it is asked for: ``yollo``, ``demo · 5x → 10x → 20x``."""
    if kind_of(name) == "mil":
        try:
            steps = " → ".join(map(magnification_name, read_spec(name).magnifications))
            return f"{Path(name).name} · {steps}"
        except ModelError:
            pass  # whoever uses it says what is wrong
    return Path(name).name


def needs_pixel_size(name: str, magnification: float | None) -> bool:
    """Whether a model needs the slide's pixel size to read it at a magnification; True if nobody knows."""
    try:
        return image_on_slide.needs_pixel_size(read_spec(name), magnification)
    except ModelError:
        return True


def reads_images(name: str) -> bool:
    """Whether a model reads an image, at any magnification, in place of patches; False if nobody knows."""
    try:
        return read_spec(name).takes == "image"
    except ModelError:
        return False
