"""Names that the user gives to files, and files that are there."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_zoommil.viewer.docks.saving import ask_where


def test_a_name_keeps_its_dots_and_nothing_is_replaced_unasked(qapp, tmp_path: Path, monkeypatch) -> None:
    given, asked = [], []

    def ask(_parent, _title, start: str, shown: str) -> tuple[str, str]:
        asked.append(start)
        assert shown == "CSV (*.csv)"
        return given.pop(0), ""

    def chosen(*names: str) -> Path | None:
        given[:], asked[:] = [str(tmp_path / name) if name else "" for name in names], []
        return ask_where(None, "Export", tmp_path / "start.csv", "CSV", (".csv",))

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    assert chosen("cohort v1.2") == tmp_path / "cohort v1.2.csv"
    assert chosen("cohort.CSV") == tmp_path / "cohort.CSV"
    assert chosen("") is None
    (tmp_path / "cohort v1.2.csv").touch()
    assert chosen("cohort v1.2", "") is None
    assert asked == [str(tmp_path / "start.csv"), str(tmp_path / "cohort v1.2.csv")]
    assert chosen("cohort v1.2.csv") == tmp_path / "cohort v1.2.csv", "Qt itself has asked"


def test_files_beside_it_are_asked_for_too(qapp, tmp_path: Path, monkeypatch) -> None:
    names = iter(("a.geojson", "", "a.geojson"))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (_named(tmp_path, next(names)), ""))
    said: list[str] = []

    def answer(_parent, _title: str, text: str, *_rest) -> QMessageBox.StandardButton:
        said.append(text)
        return QMessageBox.StandardButton.No if len(said) == 1 else QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)

    def ask() -> Path | None:
        beside = (tmp_path / "a.csv",)
        return ask_where(None, "Export", tmp_path, "GeoJSON", (".geojson",), lambda _: beside)

    assert ask() is None and said == ["a.csv beside it will be replaced. Go on?"]
    assert ask() == tmp_path / "a.geojson"


def _named(folder: Path, name: str) -> str:
    return str(folder / name) if name else ""
