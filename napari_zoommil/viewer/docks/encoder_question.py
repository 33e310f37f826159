"""The question for the encoder of a model that must not choose it by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton, QVBoxLayout, QWidget

from napari_zoommil.errors import ConsentError, EncoderError, UnknownEncoderError
from napari_zoommil.files import SAFETENSORS, TORCHSCRIPT, dialog_filter
from napari_zoommil.jobs import predict
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.model_folder import SHIPPED_ENCODERS
from napari_zoommil.viewer.docks.parts import SPACING, Sentence, row
from napari_zoommil.viewer.session import Session
from napari_zoommil.viewer.settings import allow_encoder, allowed_encoders

FIRST = "Say first which encoder the model may use"
"""What a dock says of a job that waits for the answer."""

KNOWN = (*SHIPPED_ENCODERS, "resnet50", "mean-rgb")
"""Encoders that are offered by name; any other may be typed."""

FILES = dialog_filter("Encoders", (*TORCHSCRIPT, SAFETENSORS))


class EncoderQuestion(QWidget):
    """Out of sight until a job fails because the user has not named an encoder.

    An encoder on the hub is allowed by a button, which Preferences remember by its name; a file is chosen;
    one that nothing states is named. What is named for one model serves every model in the window that was
    trained on the same encoder, as its hash tells.

    Parameters
    ----------
    session : Session
    answered : callable
        Called when the user has named an encoder.
    """

    def __init__(self, session: Session, answered: Callable[[], None]) -> None:
        super().__init__()
        self._session, self._answered = session, answered
        self._asked: dict[str, ConsentError] = {}
        self._given: dict[str, str] = {}
        self._model = ""
        self.told = Sentence(name="encoder-question")
        self.allow = QPushButton("Fetch and use it")
        self.allow.setToolTip("Encoders of this name are not asked for again; Preferences list them")
        self.allow.clicked.connect(self._allow)
        self.choose = QPushButton("Choose its file…")
        self.choose.setToolTip("A TorchScript file, or the safetensors file in a folder of the hub's form")
        self.choose.clicked.connect(self._choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING)
        self.name = QComboBox()
        self.name.setEditable(True)
        self.name.addItems(["", *KNOWN])
        self.name.setToolTip(fields(predict)["encoder"].help)
        self.use = QPushButton("Use it")
        self.use.clicked.connect(self._use)
        column.addWidget(self.told)
        self.by_name = row(self.name, self.use, stretch=0)
        column.addWidget(self.by_name)
        column.addWidget(row(self.allow, self.choose, 1))
        self.hide()

    def given(self, model: str) -> str | None:
        """The encoder that the user named for a model."""
        return self._given.get(model)

    def show_for(self, model: str) -> None:
        """Show the question of the model that is chosen, if it is open."""
        self._model = model
        error = None if model in self._given else self._asked.get(model)
        self.setVisible(error is not None)
        if error is not None:
            self.allow.setVisible(error.from_hub)
            self.by_name.setVisible(isinstance(error, UnknownEncoderError))
            self.name.setCurrentText(error.encoder if isinstance(error, UnknownEncoderError) else "")
            self.told.setText(_question(error))

    def after(self, model: str, error: Exception | None) -> bool:
        """Ask if a job with a model failed for its encoder; whether the answer is known and the job may
        be started again."""
        if isinstance(error, ConsentError):
            self._asked[model] = error
            allowed = error.encoder if error.from_hub and error.encoder in allowed_encoders() else None
            known = self._session.encoders.get(error.encoder_hash, allowed) if error.encoder_hash else allowed
            if known is not None:
                self._given[model] = known
                return True
        elif isinstance(error, EncoderError) and model in self._given:  # it was another one
            del self._given[model]
            self._session.encoders.pop(self._asked[model].encoder_hash, None)
        self.show_for(self._model)
        return False

    def _answer(self, encoder: str) -> None:
        self._given[self._model] = encoder
        if known := self._asked[self._model].encoder_hash:
            self._session.encoders[known] = encoder
        self.hide()
        self._answered()

    def _allow(self) -> None:
        encoder = self._asked[self._model].encoder
        allow_encoder(encoder)
        self._answer(encoder)

    def _use(self) -> None:
        if name := self.name.currentText().strip():
            self._answer(name)

    def _choose(self) -> None:
        title = "Encoder: a TorchScript file is a program, and is run"
        name = QFileDialog.getOpenFileName(self, title, "", FILES)[0]
        if name:
            is_folder = name.endswith(".safetensors")
            self._answer(f"local-dir:{Path(name).parent}" if is_folder else name)


def _question(error: ConsentError) -> str:
    if isinstance(error, UnknownEncoderError):
        return (
            "Nothing states which encoder this model was trained on, or these features are of. Name it, or "
            "choose its file (a TorchScript file is a program and is run with your rights). Another one "
            "makes its answers senseless."
        )
    if error.from_hub:
        return (
            f"This model was trained on the encoder {error.encoder}, which is not part of ZoomMIL. "
            "Shall its weights be fetched from the hub?"
        )
    return (
        f"This model was trained on the encoder {error.encoder[:80]}, a file. A TorchScript file is a "
        "program and is run with your rights: choose it only if you trust who made it."
    )
