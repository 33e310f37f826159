from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from errno import EACCES, ENOSPC
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import Finds
from napari_zoommil.errors import FileError
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.detection_files import cell_files, in_the_way, require_possible, write_detection

CLASSES = CellClass("tumour, large", (0, 114, 178)), CellClass("stroma", (213, 94, 0))


@pytest.fixture
def found() -> Detection:
    boxes = np.array([[10, 20, 30, 60], [100, 100, 108, 108], [5, 5, 9, 9]], float)
    finds = Finds(boxes, np.array([0.9, 0.8, 0.3], np.float32), np.array([1, 2, 2]))
    return Detection("a.svs", "f", "yollo", CLASSES, finds, 0.5, 2.0, tissue_mm2=0.5, mpp=(0.25, 0.5))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_cells_counts_and_densities_are_written(found: Detection, tmp_path: Path) -> None:
    files = write_detection(tmp_path / "new" / "a.cells.geojson", found)
    names = ["a.cells.counts.csv", "a.cells.csv", "a.cells.geojson"]
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == names
    assert len(json.loads(files.geojson.read_text(encoding="utf-8"))["features"]) == 2
    first, second = rows(files.cells)
    assert first == {
        "centre_x_um": "20.0",
        "centre_y_um": "5.0",
        "centre_x_level0_px": "40.0",
        "centre_y_level0_px": "20.0",
        "width_um": "20.0",
        "height_um": "5.0",
        "class": "tumour, large",
        "score": "0.9",
    }
    assert second["class"] == "stroma" and second["centre_x_um"] == "52.0"
    large, stroma = rows(files.counts)
    assert (large["class"], large["cells"], large["cells_per_mm2"]) == ("tumour, large", "1", "2.0")
    assert stroma["cells"] == "1" and stroma["score_at_least"] == "0.5"
    assert large["kind_of_that_area"] == "tissue" and large["mm2_that_density_refers_to"] == "0.5"
    assert (large["searched_mm2"], large["tissue_mm2"]) == ("2.0", "0.5")


def test_geojson_counts_from_the_scan_and_tables_from_the_corner(found: Detection, tmp_path: Path) -> None:
    whole = write_detection(tmp_path / "whole.geojson", found)
    part = write_detection(tmp_path / "part.geojson", replace(found, origin=(4.0, 3.0)))
    rings = []
    for files in (whole, part):
        (first, _) = json.loads(files.geojson.read_text(encoding="utf-8"))["features"]
        rings.append(np.array(first["geometry"]["coordinates"][0]))
    np.testing.assert_allclose(rings[0] - rings[1], np.broadcast_to((3, 4), rings[0].shape))
    assert rows(whole.cells) == rows(part.cells)


def test_a_score_is_kept_to(found: Detection, tmp_path: Path) -> None:
    files = write_detection(tmp_path / "a.json", found, 0.1)
    assert len(rows(files.cells)) == 3 and files.geojson.name == "a.json"
    assert [one["cells"] for one in rows(files.counts)] == ["1", "2"]


def test_names_of_files_go_together(tmp_path: Path) -> None:
    assert [one.name for one in cell_files(tmp_path / "a.b")] == ["a.b.geojson", "a.b.csv", "a.b.counts.csv"]


def test_a_folder_that_cannot_be_made_is_told(found: Detection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be made"):
        write_detection(tmp_path / "file" / "a.geojson", found)


def test_tables_of_something_else_are_not_replaced(found: Detection, tmp_path: Path) -> None:
    own = tmp_path / "cohort.csv"
    own.write_text("slide,label\n")
    with pytest.raises(FileError, match=r"cohort.csv would be replaced; choose another name, or give"):
        write_detection(tmp_path / "cohort.geojson", found)
    assert [one.name for one in tmp_path.iterdir()] == ["cohort.csv"] and own.read_text() == "slide,label\n"
    files = write_detection(tmp_path / "cohort.geojson", found, overwrite=True)
    assert len(rows(files.cells)) == 2 and in_the_way(files.geojson) == ()
    assert write_detection(tmp_path / "cohort.geojson", found) == files, "it wrote them itself"
    files.geojson.unlink()
    assert in_the_way(files.geojson) == (files.cells, files.counts)


@pytest.mark.parametrize(("step", "named"), [("table_steps", "a.csv"), ("detection_steps", "a.geojson")])
def test_no_file_is_replaced_where_another_cannot_be_written(
    found: Detection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, named: str
) -> None:
    files = write_detection(tmp_path / "a.geojson", found)
    before = [one.read_bytes() for one in files]

    def full(path: Path, *_: object) -> Iterator[int]:
        path.write_text("a part")
        yield 1
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(f"napari_zoommil.cells.export.{step}", full)
    with pytest.raises(
        FileError, match=rf"^{named} cannot be written \(No space left on device\); free some"
    ):
        write_detection(tmp_path / "a.geojson", replace(found, threshold=0.1))
    assert [one.read_bytes() for one in files] == before
    assert sorted(tmp_path.iterdir()) == sorted(files)


@pytest.mark.parametrize("name", ["a.geojson", "a.csv", "a.counts.csv"])
def test_no_file_is_replaced_where_another_program_keeps_one(
    found: Detection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = write_detection(tmp_path / "a.geojson", found)
    before, replace_file = [one.read_bytes() for one in files], os.replace

    def kept(source: Path, target: Path) -> None:
        if target.name == name:
            raise PermissionError(EACCES, "Permission denied")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", kept)
    with pytest.raises(
        FileError, match=rf"^{name} cannot be written .*; close it in other programs, or save"
    ):
        write_detection(tmp_path / "a.geojson", replace(found, threshold=0.1))
    assert [one.read_bytes() for one in files] == before
    assert sorted(tmp_path.iterdir()) == sorted(files)
    with pytest.raises(FileError, match="close it in other programs"):
        require_possible(tmp_path / "a.geojson")


def test_what_would_be_refused_in_the_end_is_refused_before_any_work(
    found: Detection, tmp_path: Path
) -> None:
    require_possible(tmp_path / "new" / "a.geojson")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(FileError, match=r"a\.csv is there and is no file"):
        require_possible(tmp_path / "a.geojson", overwrite=True)
    (tmp_path / "b.csv").write_text("slide,label\n")
    with pytest.raises(FileError, match="would be replaced"):
        require_possible(tmp_path / "b.geojson")
    with pytest.raises(FileError, match="cannot be a folder"):
        require_possible(tmp_path / "b.csv" / "c.geojson")
