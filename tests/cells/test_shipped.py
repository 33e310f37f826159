"""The cell models that ship, on a real slide that they did not learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.cells.model import load_cell_model
from napari_zoommil.jobs import detect, run
from napari_zoommil.model_folder import CARD, WEIGHTS, find_model, shipped
from napari_zoommil.slides import Slide

LARGEST_MB = 20
CROP_PX = 1024


@pytest.mark.parametrize("name", shipped("cells"))
def test_it_loads_and_is_small(name: str) -> None:
    network, spec = load_cell_model(name)
    assert spec.architecture == name and [one.name for one in spec.classes] == ["nucleus"]
    assert 0.1 <= spec.threshold <= 0.9 and {"dsb2018", "monuseg"} <= set(spec.training["figures"])
    folder = find_model(name, "cells")
    assert sum(file.stat().st_size for file in folder.iterdir()) < LARGEST_MB * 1e6
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card[card.index("# ") :].split("\n\n")[1].startswith("**Not for diagnosis")
    if parameters := sum(parameter.numel() for parameter in network.parameters()):
        assert (folder / WEIGHTS).stat().st_size > 4 * parameters  # single precision
        assert f"{parameters:,} parameters" in card


@pytest.mark.parametrize("name", shipped("cells"))
def test_it_finds_nuclei_where_haematoxylin_is(data: Path, name: str) -> None:
    with Slide.open(data / "slides" / "CMU-1-Small-Region.svs") as slide:
        square = np.array([(0, 0), (0, CROP_PX), (CROP_PX, CROP_PX), (CROP_PX, 0)], float)
        found = run(detect(slide, name, regions=[square], threads=2))
        pixels = slide.read(0, 0, CROP_PX, CROP_PX, slide.resolution()[0])
    (density,) = found.per_mm2().values()
    assert 200 < density < 10_000  # from loose tissue with much glass to packed tissue
    counted = found.finds.chosen(found.finds.scores >= found.threshold)
    rows, columns = np.clip(counted.centres.astype(int), 0, CROP_PX - 1).T
    red = pixels[..., 0].astype(float)  # haematoxylin takes red, eosin does not
    assert np.median(red[rows, columns]) < np.percentile(red, 20)
    sizes = (counted.boxes[:, 2:] - counted.boxes[:, :2]) * slide.resolution()[0]
    assert 4 < np.median(sizes) < 12  # µm
