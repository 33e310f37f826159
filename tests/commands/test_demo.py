"""The demo without a window: pictures of three moments and a report."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_zoommil.commands import demo
from napari_zoommil.synthetic import SyntheticSlide


@pytest.fixture
def small_sample(tmp_path: Path, monkeypatch) -> SyntheticSlide:
    """A small slide in the sample's place."""
    slide = SyntheticSlide(5, 6144, True, 0.1)
    path = tmp_path / "sample.tif"
    slide.write(path)
    monkeypatch.setattr(demo, "synthetic_slide", lambda: path)
    monkeypatch.setattr(demo, "sample", lambda: slide)
    return slide


def test_headless_demo_writes_pictures_and_report(small_sample, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    demo.run_demo(out)
    pictures = [np.asarray(Image.open(out / f"moment-{number}.png")).astype(int) for number in (1, 2, 3)]
    assert all(np.abs(a - b).max() > 20 for a, b in pairwise(pictures))
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "tumour" in report and "moment-3.png" in report
    assert json.loads((out / "prediction.json").read_text())["predicted"] in ("normal", "tumour")


def test_without_a_display_the_demo_goes_into_a_folder(
    small_sample, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_zoommil.commands.display.has_display", lambda: False)
    demo.run_demo(None)
    assert "there is no display" in capsys.readouterr().err
    assert (tmp_path / "zoommil-demo" / "report.html").is_file()
