from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from napari_zoommil.experiments.charts import HEIGHT, WIDTH, Line, Panel, write_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_points_lie_where_their_values_say(tmp_path: Path) -> None:
    lines = [Line("a < b", [0, 50, 100], [0, 0.5, 1], [0.1, 0, 0]), Line("c", [0, 100], [2, -1])]
    write_svg(tmp_path / "x.svg", [Panel("title", "x", "y", lines, (0, 1))] * 3)
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    curves = [line.get("points") for line in root.iter(f"{SVG}polyline")]
    assert len(curves) == 6
    middle = f"{WIDTH / 2:.1f},{HEIGHT / 2:.1f}"
    assert curves[0] == f"0.0,{HEIGHT:.1f} {middle} {WIDTH:.1f},0.0"
    assert curves[1] == f"0.0,0.0 {WIDTH:.1f},{HEIGHT:.1f}", "values beyond the limits stay in the panel"
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts.count("a < b") == texts.count("c") == 1 and texts.count("title") == 3
    colours = [line.get("stroke") for line in root.iter(f"{SVG}polyline")]
    assert colours[0] == colours[2] != colours[1]


@pytest.mark.parametrize("values", [[0.25], [3.0, 3.0]])
def test_a_single_value_has_axes_too(tmp_path: Path, values: list[float]) -> None:
    write_svg(tmp_path / "x.svg", [Panel("", "", "", [Line("a", range(len(values)), values)])])
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    heights = {float(dot.get("cy", "nan")) for dot in root.iter(f"{SVG}circle")}
    assert heights == {HEIGHT / 2}
