"""Maps as files say what they hold and where it lies."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.export import file_name, write_ome_tiff


@pytest.fixture
def shown() -> HeatMap:
    values = np.array([[0, 1], [np.nan, 0.5]], np.float32)
    return HeatMap(values, (100.0, 200.0), (50.0, 50.0), (0.5, 0.5), 10.0, "attention")


def test_ome_tiff_keeps_scores_pixel_size_and_place(shown: HeatMap, tmp_path: Path) -> None:
    path = tmp_path / "map.ome.tiff"
    write_ome_tiff(path, shown)
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), shown.values)
        pixels = next(
            each
            for each in ElementTree.fromstring(tiff.ome_metadata).iter()
            if "PhysicalSizeX" in each.attrib
        )
        plane = next(each for each in pixels.iter() if "PositionX" in each.attrib)
    assert float(pixels.attrib["PhysicalSizeX"]) == 25.0
    assert float(plane.attrib["PositionY"]) == pytest.approx((100 + 25) * 0.5)


@pytest.mark.parametrize(
    ("kind", "target", "name"),
    [("attention", None, "attention-10x"), ("grad-cam", "in situ", "grad-cam-in-situ-10x")],
)
def test_file_names(shown: HeatMap, kind, target, name) -> None:
    one = HeatMap(shown.values, shown.origin, shown.downsample, None, 10.0, kind, target)
    assert file_name(one.title) == name
