"""Whether a model knows what it was shown, said where its result is shown."""

from __future__ import annotations

from napari_zoommil.familiarity import Verdict
from napari_zoommil.viewer.docks.parts import Sentence

WARNING = "background: #e8b021; color: #1c1c1c; font-weight: 600; padding: 6px; border-radius: 3px;"
"""Dark on amber, in light and dark themes."""

HELP = (
    "Colour, texture and features of a random sample of the patches that were read, compared with those of "
    "the patches that the model was trained on"
)


class FamiliarityNote(Sentence):
    """The sentence of a verdict; it stands out where the result is not to be relied on."""

    def __init__(self) -> None:
        super().__init__(name="familiarity")
        self.setToolTip(HELP)
        self.show_verdict(None)

    def show_verdict(self, verdict: Verdict | None) -> None:
        """Say it, or nothing."""
        self.setText(_capital(verdict.sentence) if verdict else "")
        self.setStyleSheet(WARNING if verdict is not None and verdict.is_unlike else "")
        self.setVisible(verdict is not None)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
