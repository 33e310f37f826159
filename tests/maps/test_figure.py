"""Figures as PNG and SVG: the slide under its maps, legend, scale bar and title."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.drawing import Picture, Rectangle, Text, lines_of, text_width, wrapped
from napari_zoommil.maps.figure import Overview, figure_of, round_length, write_png, write_svg
from napari_zoommil.maps.overlay import Overlay

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def overview() -> Overview:
    """1,200 × 900 µm."""
    return Overview(np.full((60, 80, 3), 240, np.uint8), (30.0, 30.0), (0.5, 0.5))


@pytest.fixture
def shown() -> Overlay:
    values = np.full((2, 2), np.nan, np.float32)
    values[1, 1] = 1
    return Overlay.of([HeatMap(values, (0.0, 0.0), (900.0, 900.0), None, 5, "grad-cam", "tumour")], "raw")


def test_maps_lie_where_they_belong(overview: Overview, shown: Overlay) -> None:
    changed = (overview.with_overlay(shown) != overview.pixels).any(-1)
    ys, xs = np.nonzero(changed)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (30, 59, 30, 59) and changed.sum() == 30 * 30


def test_a_figure_holds_title_legend_and_a_true_scale_bar(overview: Overview, shown: Overlay) -> None:
    made = figure_of(overview, shown, ("slide.svs", "demo: tumour 0.93"))
    lines = lines_of(made.items)
    assert lines[:2] == ["slide.svs", "demo: tumour 0.93"] and "Grad-CAM for tumour" in lines
    slide = next(item for item in made.items if isinstance(item, Picture))
    bar = next(item for item in reversed(made.items) if isinstance(item, Rectangle))
    label = next(item for item in made.items if isinstance(item, Text) and item.text == "200 µm")
    assert bar.width / slide.width == pytest.approx(200 / 1200) and label.x == bar.x
    assert max(slide.x + slide.width, bar.x + bar.width) <= made.width
    unknown = figure_of(Overview(overview.pixels, overview.downsample, None), shown)
    assert not any("µm" in line for line in lines_of(unknown.items)), "nothing is known of its size"


def test_png_and_svg_are_the_same_figure(overview: Overview, shown: Overlay, tmp_path: Path) -> None:
    made = figure_of(overview, shown, ("a <b> & c",))
    write_png(tmp_path / "f.png", made, 2.0)
    write_svg(tmp_path / "f.svg", made)
    with Image.open(tmp_path / "f.png") as image:
        assert image.size == (round(made.width * 2), round(made.height * 2)) and image.mode == "RGB"
    root = ElementTree.parse(tmp_path / "f.svg").getroot()
    assert [text.text for text in root.iter(f"{SVG}text")] == lines_of(made.items)
    assert len(list(root.iter(f"{SVG}image"))) == 2


@given(st.floats(1, 1e6))
def test_scale_bars_have_round_lengths(most: float) -> None:
    length = round_length(most)
    assert length <= most * (1 + 1e-9) and length > most / 2.6
    assert f"{length:e}"[0] in "125" and float(f"{length:.0e}") == pytest.approx(length)


@given(st.lists(st.text("abc×µ", min_size=1, max_size=12), max_size=12))
def test_wrapping_keeps_all_words_within_the_width(words: list[str]) -> None:
    lines = wrapped(" ".join(words), 80, 11)
    assert all(text_width(line, 11) <= 80 for line in lines)
    for word, shown in zip(words, " ".join(lines).split(), strict=True):
        assert shown == word or (shown[-1] == "…" and word.startswith(shown[:-1]))
