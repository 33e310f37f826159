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
def small_sample(small_slide: Path, monkeypatch) -> Path:
    """A small slide in the sample's place."""
    monkeypatch.setattr(demo, "synthetic_slide", lambda: small_slide)
    monkeypatch.setattr(demo, "sample", lambda: SyntheticSlide(3, 4096, True, 0.12))
    return small_slide


def test_without_a_display_the_demo_writes_pictures_and_report(
    small_sample: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_zoommil.commands.display.has_display", lambda: False)
    demo.run_demo(None)
    assert "there is no display" in capsys.readouterr().err
    out = tmp_path / "zoommil-demo"
    pictures = [np.asarray(Image.open(out / f"moment-{number}.png")).astype(int) for number in (1, 2, 3)]
    assert all(np.abs(a - b).max() > 20 for a, b in pairwise(pictures))
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "tumour" in report and "moment-3.png" in report
    assert json.loads((out / "prediction.json").read_text())["predicted"] in ("normal", "tumour")


def test_a_folder_may_be_named(small_sample: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    asked: list[tuple[Path, Path]] = []
    monkeypatch.setattr(
        demo, "write_demo", lambda path, out: asked.append((path, out)) or out / "report.html"
    )
    demo.run_demo(tmp_path / "demo")
    assert asked == [(small_sample, tmp_path / "demo")]
    printed = capsys.readouterr()
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in printed.out and "no display" not in printed.err
