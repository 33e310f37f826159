"""What is trained on a cohort, how, and where its files go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import train
from napari_zoommil.jobs.cohort_train import TrainingRequest, places_beside
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.model_folder import SHIPPED_ENCODERS
from napari_zoommil.models.registry import Entry, entries
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.parts import Fold, NarrowComboBox, row

ADVANCED = ("folds", "epochs", "learning_rate", "patch_size", "min_tissue", "task", "unit", "seed", "icc")
"""Parameters of ``train`` that are made from the job itself."""

DEFAULT = "default"
"""The recipe that counts where none is asked for."""

ENCODERS = (*SHIPPED_ENCODERS, "resnet50", "mean-rgb")

SCALES = {
    "one": "one magnification",
    "several": "one magnification or more",
    "nested": "two magnifications or more, through which it zooms",
}


class Folder(QWidget):
    """A folder that is named in a line, or chosen."""

    def __init__(self, title: str, help_text: str) -> None:
        super().__init__()
        self._title = title
        self.line = QLineEdit()
        self.line.setToolTip(help_text)
        self.choose = QToolButton()
        self.choose.setText("…")
        self.choose.setToolTip(f"Choose the {title}")
        self.choose.clicked.connect(self._ask)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row(self.line, self.choose, stretch=0))

    @property
    def path(self) -> Path:
        return Path(self.line.text()).expanduser()

    def show_path(self, path: Path) -> None:
        """Show the end of a path, which tells more than its beginning."""
        self.line.setText(str(path))
        self.line.setCursorPosition(len(str(path)))

    def _ask(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self._title.capitalize(), self.line.text())
        if name:
            self.show_path(Path(name))


class Options(QWidget):
    """A line for each option of a model; one that is left empty is that of the recipe or the model."""

    def __init__(self) -> None:
        super().__init__()
        self._form = _form(self)
        self.lines: dict[str, QLineEdit] = {}

    def offer(self, entry: Entry, recipe: str) -> None:
        """The options of a model, with what counts where nothing is typed."""
        while self._form.rowCount():
            self._form.removeRow(0)
        own = entry.recipe(recipe).options
        self.lines = {}
        for name, field in fields(entry.config).items():
            line = self.lines[name] = QLineEdit()
            line.setPlaceholderText(_text(own.get(name, field.default)))
            line.setToolTip(field.help)
            self._form.addRow(name, line)

    @property
    def values(self) -> dict[str, Any]:
        """Those that were typed; several numbers with commas between them."""
        typed = {name: line.text().strip() for name, line in self.lines.items()}
        return {name: _value(text) for name, text in typed.items() if text}


class TrainSettings(QWidget):
    """Model, recipe, encoder, magnifications, and where features and model go; folded: all else.

    Parameters
    ----------
    changed : callable
        Called when anything is set to another value.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._known = entries()
        self._cohort: Path | None = None
        self.model, self.recipe = NarrowComboBox(), NarrowComboBox()
        for name, entry in self._known.items():
            self.model.addItem(name)
            told = f"Takes {SCALES[entry.scales]}. {entry.citation}"
            self.model.setItemData(self.model.count() - 1, told, Qt.ItemDataRole.ToolTipRole)
        self.recipe.setToolTip(
            "Settings of its training, by name: those of its authors, and of ZoomMIL's paper"
        )
        self.encoder = QComboBox()
        self.encoder.setEditable(True)
        self.encoder.addItems(list(ENCODERS))
        self.encoder.setToolTip(fields(train)["encoder"].help)
        for box in (self.model, self.recipe, self.encoder):
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.magnifications = QLineEdit()
        self.features = Folder("folder of features", fields(train)["store"].help)
        self.out = Folder("folder of the new model", "The folder of the new model; it is made")
        self.how = How(train, ADVANCED, "trains", changed)
        self.options = Options()
        self.own = Fold("Options of the model", self.options)
        form = QWidget()
        lines = _form(form)
        for title, widget in (
            ("Architecture", self.model),
            ("Recipe", self.recipe),
            ("Encoder", self.encoder),
            ("Magnifications", self.magnifications),
            ("Features", self.features),
            ("New model", self.out),
        ):
            widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            lines.addRow(title, widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(form)
        column.addWidget(self.how)
        column.addWidget(self.own)
        self.model.currentIndexChanged.connect(lambda _: self._another_model())
        self.recipe.currentIndexChanged.connect(lambda _: self._another_recipe())
        for signal in (
            self.model.currentIndexChanged,
            self.recipe.currentIndexChanged,
            self.encoder.currentTextChanged,
            self.magnifications.textChanged,
        ):
            signal.connect(lambda *_: changed())
        self._another_model()

    @property
    def entry(self) -> Entry:
        """Of the chosen model."""
        return self._known[self.model.currentText()]

    def show_cohort(self, cohort: Path | None) -> None:
        """Propose folders beside a table."""
        self._cohort = cohort
        self.propose()

    def propose(self) -> None:
        """Propose a folder that is not there yet."""
        if self._cohort is not None:
            features, out = places_beside(self._cohort, self.model.currentText())
            self.features.show_path(features)
            self.out.show_path(out)

    def _another_model(self) -> None:
        entry = self.entry
        with QSignalBlocker(self.recipe):
            self.recipe.clear()
            self.recipe.addItems(list(entry.recipes))
        takes = entry.takes == "bag"
        self.encoder.setEnabled(takes)
        self.model.setToolTip(str(self.model.currentData(Qt.ItemDataRole.ToolTipRole) or ""))
        self._another_recipe()
        self.propose()

    def _another_recipe(self) -> None:
        entry, name = self.entry, self.recipe.currentText()
        scales = ", ".join(f"{one:g}" for one in entry.magnifications(entry.recipe(name)))
        self.magnifications.setPlaceholderText(f"{scales} (recipe)")
        self.magnifications.setToolTip(
            f"With commas between them: {SCALES[entry.scales]}; the recipe's if empty"
        )
        recipe = entry.recipe(name)
        self.how.advanced.tell_open("epochs", f"{recipe.epochs} (recipe)")
        self.how.advanced.tell_open("learning_rate", f"{recipe.learning_rate:g} (recipe)")
        self.options.offer(entry, name)

    def request(self) -> TrainingRequest:
        """What is asked for.

        Raises
        ------
        ModelError
            If the magnifications are no numbers.
        """
        assert self._cohort is not None, "a cohort is open"
        how = {
            **self.how.values,
            "recipe": None if self.recipe.currentText() == DEFAULT else self.recipe.currentText(),
            "magnifications": _magnifications(self.magnifications.text()),
            "options": self.options.values,
        }
        if self.entry.takes == "bag":
            how["encoder"] = self.encoder.currentText().strip()
        return TrainingRequest(self._cohort, self.model.currentText(), self.features.path, self.out.path, how)


def _magnifications(text: str) -> tuple[float, ...] | None:
    parts = [part.strip().removesuffix("x") for part in text.replace(";", ",").split(",") if part.strip()]
    try:
        return tuple(map(float, parts)) or None
    except ValueError as error:
        raise ModelError(f"magnifications are numbers such as 5, 10, 20, not {text!r}") from error


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _value(text: str) -> Any:
    """As ``--set`` takes it."""
    if text.lower() == "none":
        return None
    return [part.strip() for part in text.split(",")] if "," in text else text


def _form(holder: QWidget) -> QFormLayout:
    form = QFormLayout(holder)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return form
