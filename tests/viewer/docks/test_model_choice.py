"""The list of models that docks share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_zoommil.model_folder import find_model
from napari_zoommil.viewer.docks import model_choice
from napari_zoommil.viewer.docks.model_choice import FOLDER, HUB, ModelChoice, title_of

DEMO = "demo · 5x → 10x → 20x"


@pytest.fixture
def offered(qtbot) -> Callable[..., tuple[ModelChoice, list[str]]]:
    """A list over some kinds, and what was chosen of it one after the other."""

    def make(*kinds: str, hub: bool = False, to_train: bool = False) -> tuple[ModelChoice, list[str]]:
        parent = QWidget()
        qtbot.addWidget(parent)
        chosen: list[str] = []
        choice = ModelChoice(parent, lambda: chosen.append(choice.chosen), kinds, hub, to_train)
        qtbot.addWidget(choice)
        return choice, chosen

    return make


def texts(choice: ModelChoice) -> list[str]:
    return [choice.itemText(index) for index in range(choice.count())]


def pick(choice: ModelChoice, text: str) -> None:
    index = choice.findText(text)
    choice.setCurrentIndex(index)
    choice.activated.emit(index)


def answer(monkeypatch, dialog: str, method: str, given: object) -> None:
    monkeypatch.setattr(getattr(model_choice, dialog), method, lambda *_: given)


def test_shipped_models_of_the_kinds_asked_for(offered) -> None:
    assert texts(offered("cells")[0]) == ["yollo", "unet", "haematoxylin", FOLDER]
    assert texts(offered("mil", hub=True)[0]) == [DEMO, FOLDER, HUB]
    both, chosen = offered("cells", "mil", to_train=True)
    assert texts(both) == ["yollo", "unet", DEMO, FOLDER] and (both.chosen, both.kind) == ("yollo", "cells")
    pick(both, DEMO)
    assert chosen == ["demo"] and both.kind == "mil"


def test_kept_models_of_other_kinds_are_not_offered(offered, make_cell_model, tmp_path) -> None:
    cells, mil = Path(make_cell_model()), tmp_path / "taught"
    mil.mkdir()
    shutil.copy(find_model("demo") / "config.json", mil)
    for kinds, wanted in ((("cells",), {cells}), (("mil",), {mil}), (("cells", "mil"), {cells, mil})):
        choice, chosen = offered(*kinds)
        before = texts(choice)
        choice.offer([cells, mil])
        assert set(texts(choice)) - set(before) == {one.name for one in wanted} and chosen == []
    tip = choice.itemData(choice.findText("taught"), Qt.ItemDataRole.ToolTipRole)
    assert tip == f"taught · 5x → 10x → 20x\n{mil}"


def test_a_model_kept_on_another_slide_stays_chosen(offered, make_cell_model) -> None:
    choice, chosen = offered("cells")
    kept = Path(make_cell_model())
    choice.offer([kept])
    choice.choose(kept)
    choice.offer([])
    assert choice.chosen == choice.currentData() == str(kept) and chosen == [str(kept)]


def test_a_folder_of_either_kind_is_taken(offered, make_cell_model, monkeypatch) -> None:
    choice, chosen = offered("cells", "mil")
    for folder, kind in ((make_cell_model(), "cells"), (str(find_model("demo")), "mil")):
        answer(monkeypatch, "QFileDialog", "getExistingDirectory", folder)
        pick(choice, FOLDER)
        assert chosen[-1] == choice.chosen == choice.currentData() == folder and choice.kind == kind


def test_a_folder_without_such_a_model_is_refused(offered, tmp_path, make_cell_model, monkeypatch) -> None:
    for kinds, folder, message in (
        (("cells",), "", None),
        (("cells", "mil"), str(tmp_path), "is not a model folder"),
        (("cells",), str(find_model("demo")), "a MIL model"),
        (("mil",), make_cell_model(), "a cell model"),
    ):
        choice, chosen = offered(*kinds)
        before = choice.chosen
        answer(monkeypatch, "QFileDialog", "getExistingDirectory", folder)
        pick(choice, FOLDER)
        assert choice.chosen == choice.currentData() == before and chosen == []
        if message is not None:
            assert message in notification_manager.records[-1].message


def test_a_name_on_the_hub(offered, monkeypatch) -> None:
    choice, chosen = offered("mil", hub=True)
    answer(monkeypatch, "QInputDialog", "getText", ("", False))
    pick(choice, HUB)
    assert chosen == [] and choice.currentText() == DEMO
    answer(monkeypatch, "QInputDialog", "getText", (" owner/name ", True))
    pick(choice, HUB)
    assert chosen == ["owner/name"] and choice.currentText() == "owner/name"
    pick(choice, DEMO)
    assert texts(choice) == [DEMO, "owner/name", FOLDER, HUB]


def test_a_malformed_model_goes_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"class_names": []}')
    assert title_of(str(tmp_path)) == tmp_path.name
