"""A model does not choose its encoder: the docks ask, and what they are told is used."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_zoommil.annotations import CellClass, Points, annotations_path
from napari_zoommil.errors import ConsentError, EncoderError, JobError, UnknownEncoderError
from napari_zoommil.training.mil import points as points_training
from napari_zoommil.viewer.docks import encoder_question as module
from napari_zoommil.viewer.docks.encoder_question import FIRST, EncoderQuestion
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.metadata import slide_of
from napari_zoommil.viewer.settings import allowed_encoders

MINUTE = 60_000
UNI = ConsentError("m", "hf-hub:MahmoodLab/UNI", "1" * 16, True)
FILE = ConsentError("m", "<b>net.pt</b>", "2" * 16, False)


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch) -> None:
    from napari.settings import get_plugin_settings

    monkeypatch.setattr(get_plugin_settings("napari-zoommil").hub, "encoders", "")


@pytest.fixture
def asked(qtbot) -> SimpleNamespace:
    """The question, the session it is asked in, and how often it was answered."""
    found = SimpleNamespace(session=SimpleNamespace(encoders={}), answers=0)

    def answered() -> None:
        found.answers += 1

    found.make = lambda: EncoderQuestion(found.session, answered)
    found.question = found.make()
    qtbot.addWidget(found.question)
    found.question.show_for("m")
    return found


def click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def give(monkeypatch, path: object) -> list[str]:
    """Answer the file dialog; returns the titles it is shown with."""
    titles: list[str] = []

    def answer(_parent, title: str, *_rest) -> tuple[str, str]:
        titles.append(title)
        return str(path), ""

    monkeypatch.setattr(module.QFileDialog, "getOpenFileName", answer)
    return titles


@pytest.mark.parametrize("error", [None, JobError("no memory"), EncoderError("no encoder")])
def test_nothing_is_asked_without_need(asked, error) -> None:
    assert not asked.question.after("m", error)
    assert asked.question.isHidden() and asked.question.given("m") is None


def test_the_hub_is_allowed_by_name_and_that_is_remembered(asked, qtbot) -> None:
    assert not asked.question.after("m", UNI) and not asked.question.isHidden()
    assert "hf-hub:MahmoodLab/UNI" in asked.question.told.text() and not asked.question.allow.isHidden()
    asked.question.show_for("another model")
    assert asked.question.isHidden()
    asked.question.show_for("m")
    click(qtbot, asked.question.allow)
    assert asked.answers == 1 and asked.question.isHidden()
    assert asked.question.given("m") == UNI.encoder and allowed_encoders() == (UNI.encoder,)
    asked.session.encoders.clear()  # another day
    later = asked.make()
    qtbot.addWidget(later)
    assert later.after("n", UNI) and later.given("n") == UNI.encoder and later.isHidden()
    other = ConsentError("m", "hf-hub:MahmoodLab/UNI2-h", "3" * 16, True)
    assert not later.after("o", other) and later.given("o") is None


def test_a_file_is_never_remembered_beyond_the_window(asked, qtbot, monkeypatch) -> None:
    titles = give(monkeypatch, "")
    asked.question.after("m", FILE)
    assert asked.question.allow.isHidden() and "program" in asked.question.told.text()
    assert asked.question.told.textFormat() == Qt.TextFormat.PlainText
    click(qtbot, asked.question.choose)
    assert asked.answers == 0 and not asked.question.isHidden(), "nothing was chosen"
    give(monkeypatch, "/somewhere/net.pt")
    click(qtbot, asked.question.choose)
    assert asked.answers == 1 and asked.question.given("m") == "/somewhere/net.pt"
    assert allowed_encoders() == () and "is a program, and is run" in titles[0]
    assert asked.question.after("kept", FILE) and asked.question.given("kept") == "/somewhere/net.pt"


def test_a_file_of_another_encoder_is_asked_for_again(asked, qtbot, monkeypatch) -> None:
    give(monkeypatch, "/models/uni/model.safetensors")
    asked.question.after("m", UNI)
    click(qtbot, asked.question.choose)
    assert asked.question.given("m") == "local-dir:/models/uni"
    assert not asked.question.after("m", EncoderError("other weights"))
    assert not asked.question.isHidden() and asked.question.given("m") is None
    assert asked.session.encoders == {}


@pytest.fixture
def model(tmp_path: Path, spy) -> Path:
    """Untrained, on code in a file that its folder names."""
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model

    network = create("zoommil", in_features=3, classes=2, magnifications=(5, 10), k=2, hidden=8, attention=4)
    spec = ModelSpec("zoommil", network.config(), str(spy.path), spy.hash, 64, ("benign", "tumour"))
    save_model(tmp_path / "model", network, spec, "# Test\n")
    return tmp_path / "model"


def test_both_docks_run_a_file_only_when_it_was_chosen(
    attention, model, spy, make_slide, add_slide, tmp_path, monkeypatch, qtbot
) -> None:
    monkeypatch.setitem(points_training.PRESETS, "interactive", points_training.PointRecipe(epochs=2))
    path = make_slide(tmp_path / "slide.tif", (120, 60, 160))
    viewer, dock = attention
    layer = add_slide(viewer, path)
    before = len(notification_manager.records)
    dock.model.choose(model)
    qtbot.waitUntil(lambda: not dock.encoder.isHidden(), timeout=MINUTE)
    assert dock.cost.text() == FIRST == dock.act.button.toolTip() and not dock.act.button.isEnabled()
    assert spy.ran == [] and len(notification_manager.records) == before, "a question is no error"

    (tmp_path / "other.pt").write_bytes(spy.path.read_bytes() + b"\0")
    give(monkeypatch, tmp_path / "other.pt")
    click(qtbot, dock.encoder.choose)
    qtbot.waitUntil(lambda: "other weights" in dock.cost.text(), timeout=MINUTE)
    assert spy.ran == [] and not dock.encoder.isHidden()

    give(monkeypatch, spy.path)
    click(qtbot, dock.encoder.choose)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    assert spy.ran == ["called", "loaded"] and dock.encoder.isHidden()
    click(qtbot, dock.act.button)
    qtbot.waitUntil(lambda: dock._entry.prediction is not None, timeout=MINUTE)

    points = Points(classes=[CellClass("tumour", (213, 94, 0))])
    points.add((250.0, 250.0), 1)
    points.write(annotations_path(slide_of(layer)))
    teacher = show_dock(viewer, "Fine-tune")
    teacher._session.encoders.clear()
    teacher.model.choose(model)
    qtbot.waitUntil(lambda: teacher.act.button.isEnabled(), timeout=MINUTE)
    click(qtbot, teacher.act.button)
    qtbot.waitUntil(lambda: not teacher.encoder.isHidden() and teacher._busy is None, timeout=MINUTE)
    assert teacher.act.note.text() == FIRST
    qtbot.waitUntil(lambda: teacher.act.button.isEnabled(), timeout=MINUTE)
    click(qtbot, teacher.encoder.choose)
    qtbot.waitUntil(lambda: teacher.lesson.run is not None and teacher._busy is None, timeout=MINUTE)

    dock.model.choose(teacher.lesson.run.folder)
    qtbot.waitUntil(lambda: dock.act.button.isEnabled(), timeout=MINUTE)
    assert dock.encoder.isHidden(), "the same encoder was named before"


def test_an_encoder_that_nothing_states_is_named(asked, qtbot) -> None:
    imported = UnknownEncoderError("m was imported without the name of its encoder")
    assert not asked.question.after("m", imported) and not asked.question.by_name.isHidden()
    assert asked.question.allow.isHidden() and "Name it" in asked.question.told.text()
    click(qtbot, asked.question.use)
    assert asked.answers == 0, "nothing was named"
    asked.question.name.setCurrentText("resnet50")
    click(qtbot, asked.question.use)
    assert asked.answers == 1 and asked.question.given("m") == "resnet50"
    assert not asked.question.after("n", imported), "another model may be of another one"
    assert not asked.question.after("m", EncoderError("m takes 3 features per patch"))
    asked.question.show_for("m")
    assert asked.question.given("m") is None and not asked.question.isHidden()
    asked.question.after("m", UNI)
    assert asked.question.by_name.isHidden()


def test_the_encoder_that_files_state_is_proposed(asked) -> None:
    asked.question.after("m", UnknownEncoderError("if it was trained on that, say so", "uni_v1"))
    assert asked.question.name.currentText() == "uni_v1"
