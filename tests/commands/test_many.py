from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_zoommil.cli import main
from napari_zoommil.commands.many import slide_paths


@pytest.mark.parametrize("name", ["slides.csv", "SLIDES.CSV", "slides.tsv"])
def test_slides_of_a_table_stand_in_its_place(tmp_path: Path, name: str) -> None:
    table = tmp_path / name
    table.write_text("slide;label\n a.tif;x\n\nb.tif ;y\n", encoding="utf-8")
    found = slide_paths([Path("z.svs"), table, Path("table.csv.svs")])
    assert found == [Path("z.svs"), tmp_path / "a.tif", tmp_path / "b.tif", Path("table.csv.svs")]


def test_a_table_with_blanks_is_told_of_as_any_other(data: Path, tmp_path: Path, capsys) -> None:
    folder = shutil.copytree(data / "cases" / "cohort", tmp_path / "cohort")
    (folder / "blanks.csv").rename(folder / "BLANKS.CSV")
    with pytest.raises(SystemExit) as end:
        main(["info", str(folder / "BLANKS.CSV"), "--json"])
    assert not end.value.code
    assert [one["slide"] for one in json.loads(capsys.readouterr().out)] == [
        "a.tif", "b.tif", "c.tif", "d.tif",
    ]  # fmt: skip
