"""The points that a fine-tuning learns from: at their places, and what cannot be read is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import Points
from napari_zoommil.jobs.finetuning import points_on
from napari_zoommil.slides import Slide


def test_points_of_qupath_are_placed_however_they_are_given(data: Path) -> None:
    file = data / "cases" / "glass-qupath-points.geojson"
    with Slide.open(data / "cases" / "glass.scn") as slide:
        for given in (file, Points.read(file), Points.read(file, origin=slide.origin)):
            told = points_on(slide, given)
            assert told.off_slide == 0 and told.counts == {"Tumor": 8}
            np.testing.assert_allclose(told.points.coordinates[0], (46.24 + 224, 294.58 + 320))


@pytest.mark.parametrize(("name", "count"), [("one-empty-outline", 20), ("one-outline-of-two-corners", 12)])
def test_what_cannot_be_read_is_told(data: Path, name: str, count: int) -> None:
    with (
        Slide.open(data / "cases" / "slide20x.tif") as slide,
        pytest.warns(UserWarning, match=rf"^{name}\.geojson: 1 of its \d+ features cannot be read"),
    ):
        assert sum(points_on(slide, data / "cases" / f"{name}.geojson").counts.values()) == count
