"""The card of the model that a dock uses, in a window of its own: plain text, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.model_card import body_of, not_for_of
from napari_zoommil.model_folder import cached_models, find_model, read_card
from napari_zoommil.viewer.docks.familiarity_note import WARNING
from napari_zoommil.viewer.docks.model_choice import ModelChoice

SIZE = 620, 560


class CardButton(QPushButton):
    """Opens the card of the chosen model.

    Parameters
    ----------
    choice : ModelChoice
    """

    def __init__(self, choice: ModelChoice) -> None:
        super().__init__()
        self._choice = choice
        self.setText("Card")
        self.setToolTip("What the chosen model is, and what it must not be used for")
        self.clicked.connect(self.open)
        self.window_: CardWindow | None = None

    def open(self) -> None:
        """Show the card; another one that is shown is closed."""
        if self.window_ is not None:
            self.window_.close()
        self.window_ = CardWindow(self._choice.chosen, self)
        self.window_.show()


class CardWindow(QDialog):
    """A card as read-only text; above it stands what the model must not be used for."""

    def __init__(self, model: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        self.setWindowTitle(f"Model {Path(model).name}" if model else "No model")
        self.resize(*SIZE)
        card = card_of(model)
        self.not_for = QLabel(not_for_of(card))
        self.not_for.setTextFormat(Qt.TextFormat.PlainText)
        self.not_for.setWordWrap(True)
        self.not_for.setStyleSheet(WARNING)
        self.not_for.setVisible(bool(self.not_for.text()))
        self.text = QPlainTextEdit(body_of(card) or "This model has no card.")
        self.text.setReadOnly(True)
        column = QVBoxLayout(self)
        column.addWidget(self.not_for)
        column.addWidget(self.text)


def card_of(model: str) -> str:
    """The card of a model that is on this machine; of others, what is wrong or where they are."""
    if not model:
        return "Choose a model first."
    try:
        return read_card(find_model(model, fetch=False))
    except ZoomMILError as error:
        if Path(model).is_absolute():
            return str(error)
        if (folder := cached_models().get(model)) is not None:
            return read_card(folder)
        return f"{model} is not on this machine yet: its card comes with it, when it is used first."
