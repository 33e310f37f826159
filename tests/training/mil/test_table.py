from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.errors import CohortError
from napari_zoommil.training.mil.table import SEPARATORS, read_table


def read(folder: Path, text: str, *columns: str) -> list[tuple[int, dict[str, str]]]:
    (folder / "a.csv").write_text(text, encoding="utf-8", newline="")
    return [(row.line, dict(row.cells)) for row in read_table(folder / "a.csv", columns or ("slide",))]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_of_any_program(tmp_path: Path, separator: str, end: str, mark: str) -> None:
    lines = ["", "slide;LABEL ", " a.svs ; x", ";", "", 'b.svs;"y, z"', ""]
    found = read(tmp_path, mark + end.join(lines).replace(";", separator))
    assert found == [(3, {"slide": "a.svs", "label": "x"}), (6, {"slide": "b.svs", "label": "y, z"})]


def test_columns_that_are_not_there_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("slide,label\na.svs\n", encoding="utf-8")
    (row,) = read_table(tmp_path / "a.csv", ("slide",))
    assert (row["slide"], row["label"], row["group"], row.fault) == ("a.svs", "", "", "")


def test_the_separator_is_that_of_the_header(tmp_path: Path) -> None:
    assert read(tmp_path, "slide;label\na,b.svs;0,5\n")[0][1] == {"slide": "a,b.svs", "label": "0,5"}
    assert read(tmp_path, "slide\na;b.svs\n")[0][1] == {"slide": "a;b.svs"}


def test_separators_at_the_end_of_lines_are_no_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("slide,label\na.svs,x,,\nb.svs,y,z\n", encoding="utf-8")
    first, second = read_table(tmp_path / "a.csv", ("slide",))
    assert first.fault == "" and second.fault.startswith("'z' is in no column")


@pytest.mark.parametrize("text", ["", "\n\n", "slide,label\n", "slides,label\na,b\n"])
def test_what_is_no_table_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(CohortError, match=r"a\.csv needs a header with the columns slide and label, and a"):
        read(tmp_path, text, "slide", "label")


VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5), st.sampled_from(SEPARATORS))
def test_values_come_back(tmp_path: Path, rows: list[tuple[str, str]], separator: str) -> None:
    stripped = [(slide.strip(), label.strip()) for slide, label in rows]
    expected = [one for one in stripped if any(one)]
    if not expected:
        return
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([("slide", "label"), *rows])
    found = read(tmp_path, text.getvalue())
    assert [(cells["slide"], cells["label"]) for _, cells in found] == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=80))
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(b"slide,label\n" + content)
    try:
        rows = read_table(tmp_path / "a.csv", ("slide",))
        assert rows and all(row["slide"] or row["label"] or row.fault for row in rows)
    except CohortError as error:
        assert str(error).startswith("a.csv ")
