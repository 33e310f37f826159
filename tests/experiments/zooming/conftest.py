"""A cohort of small plain-coloured slides, and a preset that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_zoommil.experiments.zooming import units
from napari_zoommil.experiments.zooming.cohort import MadeCohort
from napari_zoommil.experiments.zooming.units import Extent
from napari_zoommil.files import write_json

TINY = Extent(
    MadeCohort(3, 1024), encoder="mean-rgb", patch_size=16, epochs=1, learning_rate=1e-3, k=2, seeds=(0, 1)
)

OUTLINE = {
    "type": "Feature",
    "properties": {},
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[128, 128], [384, 128], [384, 256], [128, 256], [128, 128]]],
    },
}


@pytest.fixture(scope="session")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pink and three violet slides at 20x with a table; a part of each violet one is outlined."""
    folder, rng = tmp_path_factory.mktemp("coloured"), np.random.default_rng(0)
    lines = ["slide,label,split"]
    for number in range(6):
        label, colour = (("pink", (230, 140, 190)), ("violet", (140, 90, 180)))[number % 2]
        pixels = np.full((768, 768, 3), 245, np.uint8)
        pixels[128:-128, 128:-128] = np.array(colour) + rng.integers(-9, 10, (512, 512, 3))
        path = folder / f"{label}{number}.tif"
        tifffile.imwrite(
            path, pixels, photometric="rgb", tile=(128, 128), resolution=(20_000, 20_000), resolutionunit=3
        )
        lines.append(f"{path.name},{label},{('train', 'val', 'test')[number // 2]}")
        if label == "violet":
            write_json(path.with_suffix(".geojson"), OUTLINE)
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(units.EXTENTS, "cpu", TINY)
    monkeypatch.setattr("napari_zoommil.experiments.zooming.training.processes", lambda _: 1)
