"""What is trained on a cohort, how, and where its files go."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QSizePolicy, QWidget

from napari_zoommil.errors import ModelError, ZoomMILError
from napari_zoommil.jobs import train
from napari_zoommil.jobs.cohort import OWN_SOURCE, TableSource
from napari_zoommil.jobs.cohort_train import TrainingRequest, places_beside
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.train_choices import FIXED
from napari_zoommil.model_folder import find_model
from napari_zoommil.models.registry import DEFAULT_RECIPE, OF_IMAGES, Entry, Recipe, entries
from napari_zoommil.models.spec import ModelSpec, read_spec
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.cohort.plan import read, written
from napari_zoommil.viewer.docks.encoder_question import KNOWN
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.parts import Fold, NarrowComboBox, stack
from napari_zoommil.viewer.docks.paths import Folder

ADVANCED = (
    "folds",
    "epochs",
    "learning_rate",
    "patch_size",
    "min_tissue",
    "tissue_detector",
    "task",
    "unit",
    "seed",
    "mpp",
    "icc",
    "flags",
)
"""Parameters of ``train`` that are made from the job itself."""

HIDDEN = ("num_nodes",)
"""Fields of the trainer's flags that a training in the window does not have."""

NEW = "A new model"
"""What a training starts from if it starts from none."""

SCALES = {
    "one": "one magnification",
    "several": "one magnification or more",
    "nested": "two magnifications or more, through which it zooms",
}


class Options(QWidget):
    """A line for each option of a model, or setting of a recipe; one that is left empty is as it stands."""

    def __init__(self) -> None:
        super().__init__()
        self._form = form_of(self)
        self.lines: dict[str, QLineEdit] = {}

    def offer(self, kind: Callable[..., Any], own: Mapping[str, Any], without: Container[str] = ()) -> None:
        """Offer the fields of a dataclass, with what counts where nothing is typed.

        Parameters
        ----------
        kind : type
        own : dict
            Values that differ from the defaults.
        without : container of str
            Fields that are not offered.
        """
        while self._form.rowCount():
            self._form.removeRow(0)
        self.lines = {}
        for name, field in fields(kind).items():
            if name in without:
                continue
            line = self.lines[name] = QLineEdit()
            line.setPlaceholderText(written(own.get(name, field.default)))
            line.setToolTip(field.help)
            self._form.addRow(name, line)

    @property
    def values(self) -> dict[str, Any]:
        """Those that were typed; several numbers with commas between them."""
        typed = {name: line.text().strip() for name, line in self.lines.items()}
        return {name: read(text) for name, text in typed.items() if text}


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
        self._of_slides: str | None = None
        self.start = ModelChoice(self, self._another_model, ("mil",), hub=True, none=NEW)
        self.start.setToolTip(fields(train)["start"].help)
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
        self.encoder.addItems(["", *KNOWN])
        self.encoder.setToolTip(fields(train)["encoder"].help)
        for box in (self.start, self.model, self.recipe, self.encoder):
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.magnifications = QLineEdit()
        self.features = Folder("folder of features", fields(train)["store"].help)
        self.out = Folder("folder of the new model", "The folder of the new model; it is made")
        self.how = How(train, ADVANCED, "trains", changed, hidden=HIDDEN)
        self.options, self.set = Options(), Options()
        self.own = Fold("Options of the model", self.options)
        self.of_recipe = Fold("Settings of the recipe", self.set)
        form = QWidget()
        lines = form_of(form)
        for title, widget in (
            ("Start from", self.start),
            ("Architecture", self.model),
            ("Recipe", self.recipe),
            ("Encoder", self.encoder),
            ("Magnifications", self.magnifications),
            ("Feature store", self.features),
            ("New model", self.out),
        ):
            widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            lines.addRow(title, widget)
        stack(self, form, self.how, self.own, self.of_recipe)
        self.model.currentIndexChanged.connect(lambda _: self._another_model())
        self.recipe.currentIndexChanged.connect(lambda _: self._another_recipe())
        for signal in (
            self.start.activated,
            self.model.currentIndexChanged,
            self.recipe.currentIndexChanged,
            self.encoder.currentTextChanged,
            self.magnifications.textChanged,
        ):
            signal.connect(lambda *_: changed())
        self._another_model()

    @property
    def entry(self) -> Entry:
        """Of the chosen architecture."""
        return self._known[self.model.currentText()]

    def offer_encoder(self, folder: Path) -> None:
        """Choose an encoder that was trained."""
        self.encoder.addItem(str(folder))
        self.encoder.setCurrentText(str(folder))

    def show_cohort(self, cohort: Path | None, of_images: bool = False) -> None:
        """Propose folders beside a cohort; for one of images, an architecture that reads images.

        For the next one that is not of images, the architecture is again what it was before.
        """
        self._cohort = cohort
        reads_images = self.entry.takes == "image"
        if of_images and not self.start.chosen and not reads_images:
            self._of_slides = self.model.currentText()
            self.model.setCurrentText(next(name for name, one in self._known.items() if one.takes == "image"))
        elif not of_images and not self.start.chosen and reads_images and self._of_slides:
            self.model.setCurrentText(self._of_slides)
        if not of_images:
            self._of_slides = None
        self.propose()

    def propose(self) -> None:
        """Propose a folder that is not there yet."""
        if self._cohort is not None:
            features, out = places_beside(self._cohort, self.model.currentText())
            self.features.show_path(features)
            self.out.show_path(out)

    def _begun(self) -> ModelSpec | None:
        """What the model that the training starts from states; None of a new one, or if it is not at hand."""
        try:
            return read_spec(find_model(self.start.chosen, fetch=False)) if self.start.chosen else None
        except ZoomMILError:
            return None

    def _another_model(self) -> None:
        begun = self._begun()
        if begun is not None and begun.architecture in self._known:
            with QSignalBlocker(self.model):
                self.model.setCurrentText(begun.architecture)
        entry = self.entry
        with QSignalBlocker(self.recipe):
            self.recipe.clear()
            self.recipe.addItems(list(entry.recipes))
        self.model.setEnabled(not self.start.chosen)
        self.encoder.setEnabled(entry.takes == "bag")
        line = self.encoder.lineEdit()
        assert line is not None
        line.setPlaceholderText("that of the model" if self.start.chosen else "nic, or the files'")
        self.model.setToolTip(
            "That of the model that the training starts from"
            if self.start.chosen
            else str(self.model.currentData(Qt.ItemDataRole.ToolTipRole) or "")
        )
        self._another_recipe()
        self.propose()

    def _another_recipe(self) -> None:
        entry, name, begun = self.entry, self.recipe.currentText(), self._begun()
        recipe = entry.recipe(name)
        of = "recipe" if begun is None else "model"
        scales = entry.magnifications(recipe) if begun is None else begun.magnifications
        self.magnifications.setPlaceholderText(f"{', '.join(f'{one:g}' for one in scales)} ({of})")
        self.magnifications.setToolTip(
            f"With commas between them: {SCALES[entry.scales]}; the {of}'s if empty"
        )
        self.how.advanced.tell_open("epochs", f"{recipe.epochs} (recipe)")
        self.how.advanced.tell_open("learning_rate", f"{recipe.learning_rate:g} (recipe)")
        self.options.offer(entry.config, recipe.options if begun is None else begun.config)
        own = {one.name: getattr(recipe, one.name) for one in dataclass_fields(recipe)}
        others = () if entry.takes == "image" else OF_IMAGES
        self.set.offer(Recipe, own, (*FIXED, "epochs", "learning_rate", *others))

    def request(self, source: TableSource = OWN_SOURCE) -> TrainingRequest:
        """What is asked for.

        Parameters
        ----------
        source : TableSource
            How the table was read.

        Raises
        ------
        ModelError
            If the magnifications are no numbers.
        """
        assert self._cohort is not None, "a cohort is open"
        how = {
            **self.how.values,
            "columns": source.columns,
            "features": tuple(source.features),
            "start": self.start.chosen or None,
            "recipe": None if self.recipe.currentText() == DEFAULT_RECIPE else self.recipe.currentText(),
            "magnifications": _magnifications(self.magnifications.text()),
            "options": self.options.values,
            "settings": self.set.values,
        }
        if self.entry.takes == "bag":
            how["encoder"] = self.encoder.currentText().strip() or None
        model = None if self.start.chosen else self.model.currentText()
        return TrainingRequest(self._cohort, model, self.features.path, self.out.path, how)


def _magnifications(text: str) -> tuple[float, ...] | None:
    parts = [part.strip().removesuffix("x") for part in text.replace(";", ",").split(",") if part.strip()]
    try:
        return tuple(map(float, parts)) or None
    except ValueError as error:
        raise ModelError(f"magnifications are numbers such as 5, 10, 20, not {text!r}") from error


def form_of(holder: QWidget) -> QFormLayout:
    """A form as wide as what holds it."""
    form = QFormLayout(holder)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return form
