"""One output for all that is shown, compared and tested of an explanation; files of its parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction_files import agreement_file, folder_in
from napari_zoommil.maps.focus import WHOLE, Focus
from napari_zoommil.maps.heatmap import HeatMap


def explanation(*targets: str | None) -> Explanation:
    """Attention to outputs, of a slide for which the second one was predicted."""
    maps = [
        HeatMap(np.zeros((2, 2), np.float32), (0.0, 0.0), (1.0, 1.0), None, 5.0, "attention", one)
        for one in targets
    ]
    return Explanation("attention", None, SimpleNamespace(explained="b"), (), tuple(maps))  # type: ignore[arg-type]


def test_attention_to_each_class_is_that_to_the_output_that_is_spoken_of() -> None:
    found = explanation("a", "b")
    assert found.tells_outputs_apart and [one.target for one in found.shown] == ["b"]
    assert [one.target for one in replace(found, target="a").shown] == ["a"]
    shared = explanation(None)
    assert not shared.tells_outputs_apart and len(shared.shown) == 1 and shared.explained == "b"


@pytest.mark.parametrize(
    ("focus", "name"),
    [
        (WHOLE, "."),
        (Focus(only_magnification=10), "10x"),
        (Focus(window=(0, 10, 20, 30)), "window-0-10-20-30"),
        (Focus(window=(0, 10, 20, 30), only_magnification=5), "window-0-10-20-30-5x"),
        (Focus(at=(7, 8)), "patch-7-8"),
    ],
)
def test_parts_and_outputs_have_files_of_their_own(focus: Focus, name: str, tmp_path: Path) -> None:
    folder = folder_in(tmp_path, focus)
    assert folder == tmp_path / name
    assert agreement_file(folder, "grad-cam", "b") != agreement_file(folder, "grad-cam", "a")
