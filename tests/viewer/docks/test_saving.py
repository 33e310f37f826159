"""Names that the user gives to files, and files that are there."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog

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
