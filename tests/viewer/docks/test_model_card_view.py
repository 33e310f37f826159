"""The card of the chosen model: plain text in a window of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_zoommil.model_folder import CARD
from napari_zoommil.viewer.docks.model_card_view import CardButton, card_of
from napari_zoommil.viewer.docks.model_choice import ModelChoice


@pytest.fixture
def button(qtbot) -> CardButton:
    parent = QWidget()
    qtbot.addWidget(parent)
    choice = ModelChoice(parent, lambda: None, ("mil", "cells"))
    found = CardButton(choice)
    qtbot.addWidget(choice)
    qtbot.addWidget(found)
    return found


def test_it_begins_with_what_the_model_must_not_be_used_for(button: CardButton) -> None:
    button.click()
    window = button.window_
    assert window is not None and window.isVisible() and window.text.isReadOnly()
    assert window.not_for.text().startswith("Not for real tissue, and not for diagnosis")
    text = window.text.toPlainText()
    assert text.startswith("# demo") and "library_name" not in text
    button._choice.choose(Path("unet"))
    button.click()
    assert not window.isVisible() and "unet" in button.window_.windowTitle()


def test_a_strangers_card_is_text(button: CardButton, make_cell_model) -> None:
    folder = Path(make_cell_model())
    html = "---\nnot_for: <b>all</b>\n---\n<img src=x onerror=y> <a href='file:///'>here</a>"
    (folder / CARD).write_text(html)
    button._choice.choose(folder)
    button.click()
    assert button.window_.not_for.textFormat() == Qt.TextFormat.PlainText
    assert button.window_.not_for.text() == "<b>all</b>"
    assert button.window_.text.toPlainText().startswith("<img src=x")


def test_a_model_without_a_card_or_not_there_yet(button: CardButton, make_cell_model, monkeypatch) -> None:
    folder = Path(make_cell_model())
    (folder / CARD).unlink()
    button._choice.choose(folder)
    button.click()
    assert button.window_.text.toPlainText() == "This model has no card."
    monkeypatch.setattr("napari_zoommil.model_folder._download", lambda _: pytest.fail("it is fetched"))
    assert "not on this machine yet" in card_of("somebody/nothing")
