"""The question what is to become of two documents, where one took the place of the other on disk."""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_zoommil.annotations import Points, Stranger
from napari_zoommil.viewer.sentences import marked, marked_in

Choice = Literal["mine", "theirs", "both"]

BUTTONS: dict[Choice, tuple[str, QMessageBox.ButtonRole]] = {
    "mine": ("Keep &mine", QMessageBox.ButtonRole.RejectRole),
    "theirs": ("Take &theirs", QMessageBox.ButtonRole.AcceptRole),
    "both": ("Keep &both", QMessageBox.ButtonRole.AcceptRole),
}


class StrangerQuestion(QMessageBox):
    """Asks which document is to be that of a slide; the window can be used meanwhile.

    Enter, Escape and closing it keep ours, which is what the file holds when it is asked: an answer by
    mistake, or none, changes nothing.

    Parameters
    ----------
    parent : QWidget or None
    name : str
        Of the file.
    ours : Points
    stranger : Stranger
    """

    decided = Signal(str)
    """(Choice)"""

    def __init__(self, parent: QWidget | None, name: str, ours: Points, stranger: Stranger) -> None:
        super().__init__(parent)
        self.setObjectName("stranger-question")
        self.setWindowTitle("Other annotations")
        self.setWindowModality(Qt.WindowModality.NonModal)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setIcon(QMessageBox.Icon.Question)
        is_strange = (
            "says that it is of another slide" if stranger.of_other_slide else "shares nothing with yours"
        )
        self.setText(
            f"Another document took the place of {name}: it {is_strange}.\n\n"
            f"Yours: {marked(ours)}. Theirs: {marked_in(stranger.content.features)}.\n\n"
            f"Yours was written again, and theirs is in {stranger.path.name}: nothing is lost, whatever you "
            "choose."
        )
        self._choices = {self.addButton(text, role): choice for choice, (text, role) in BUTTONS.items()}
        mine = next(iter(self._choices))
        self.setDefaultButton(mine)
        self.setEscapeButton(mine)
        self.finished.connect(lambda _: self.decided.emit(self._choice))  # also of the title bar's button

    @property
    def _choice(self) -> Choice:
        button = self.clickedButton()
        return next((choice for one, choice in self._choices.items() if one == button), "mine")
