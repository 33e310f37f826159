from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.charts import Line, Panel, drawn, write_svg
from napari_zoommil.maps.colours import class_colour

SVG = "{http://www.w3.org/2000/svg}"
LINES = [Line("a < b", [0, 50, 100], [0, 0.5, 1], [0.1, 0, 0]), Line("c", [0, 100], [2, -1])]


def test_points_lie_where_their_values_say() -> None:
    figure = drawn([Panel("title", "percent", "share", LINES, (0, 1))] * 3)
    assert len(figure.axes) == 3
    for axis in figure.axes:
        assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("title", "percent", "share")
        assert axis.get_ylim() == (0, 1)
        curves = [container.lines[0] for container in axis.containers]
        for curve, line in zip(curves, LINES, strict=True):
            assert np.array_equal(curve.get_xydata(), np.column_stack([line.x, line.y]))
        assert [curve.get_color() for curve in curves] == [class_colour(0), class_colour(1)]
        (bars,) = axis.containers[0].lines[2]
        assert np.allclose(bars.get_segments()[0], [[0, -0.1], [0, 0.1]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a < b", "c"]


def test_panels_of_different_names_have_legends_of_their_own() -> None:
    figure = drawn([Panel("one", "x", "y", LINES), Panel("two", "x", "y", LINES[1:])], legends=True)
    own = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]
    assert own == [["a < b", "c"], ["c"]] and not figure.legends
    assert figure.axes[1].containers[0].lines[0].get_color() == class_colour(0)


def test_the_same_values_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_svg(tmp_path / name, [Panel("title", "x", "y", LINES)])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    texts = [text.text for text in ElementTree.parse(tmp_path / "one").getroot().iter(f"{SVG}text")]
    assert texts.count("a < b") == texts.count("c") == texts.count("title") == 1


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(JobError, match=r"napari-zoommil\[experiments\]"):
        write_svg(tmp_path / "x.svg", [Panel("", "", "", LINES)])
