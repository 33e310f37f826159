"""Found cells as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil import files
from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells import export
from napari_zoommil.cells.export import write_detections
from napari_zoommil.cells.model import Finds
from napari_zoommil.errors import FileError

CLASSES = CellClass('tümour "3"', (0, 114, 178)), CellClass("stroma", (213, 94, 0))


def some(count: int, seed: int = 0) -> Finds:
    """Cells of a few µm anywhere on a large slide; the first lie on whole px, the scores are float32."""
    rng = np.random.default_rng(seed)
    centres, radii = rng.uniform(0, 200_000, (count, 2)), rng.uniform(3, 30, (count, 2))
    centres[:3], radii[:3] = np.rint(centres[:3]), 8
    boxes = np.hstack([centres - radii, centres + radii])
    return Finds(boxes, rng.uniform(0, 1, count).astype(np.float32), rng.integers(1, 3, count))


def as_json(finds: Finds) -> list[dict[str, Any]]:
    """The features one by one, in plain Python."""
    features = []
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for (y0, x0, y1, x1), score, label in zip(finds.boxes, finds.scores, finds.labels, strict=True):
        y, x = float((y0 + y1) / 2), float((x0 + x1) / 2)
        corners = [(x + (x1 - x0) / 2 * np.cos(at), y + (y1 - y0) / 2 * np.sin(at)) for at in angles]
        ring = [[float(np.round(value, 2)) for value in corner] for corner in corners]
        of = CLASSES[label - 1]
        properties = {
            "objectType": "detection",
            "classification": {"name": of.name, "color": list(of.colour)},
            "measurements": {"score": round(float(score), 4)},
        }
        features.append(
            {
                "type": "Feature",
                "id": str(uuid5(NAMESPACE_OID, f"{[y, x]} {label}")),
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": properties,
            }
        )
    return features


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 40), seed=st.integers(0, 1000), block=st.integers(1, 20))
def test_what_is_written_is_the_features_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, block: int
) -> None:
    path, finds = tmp_path_factory.mktemp("cells") / "cells.geojson", some(count, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "BLOCK", block)
        write_detections(path, finds, CLASSES)
    assert json.loads(path.read_bytes()) == {"type": "FeatureCollection", "features": as_json(finds)}


def test_the_same_cells_have_the_same_ids_and_no_two_share_one(tmp_path: Path) -> None:
    finds = some(3000)
    for name, rows in (("all", np.arange(3000)), ("half", np.arange(0, 3000, 2))):
        write_detections(tmp_path / name, finds.chosen(rows), CLASSES)
    every, half = (
        [one["id"] for one in json.loads((tmp_path / name).read_bytes())["features"]]
        for name in ("all", "half")
    )
    assert half == every[::2] and len(set(every)) == 3000


def test_our_own_reader_finds_the_cells_again(tmp_path: Path) -> None:
    finds = some(50)
    write_detections(tmp_path / "cells.geojson", finds, CLASSES)
    points = Points.read(tmp_path / "cells.geojson")
    np.testing.assert_allclose(points.coordinates, finds.centres, atol=0.01)
    assert {one.name: one.colour for one in points.classes} == {one.name: one.colour for one in CLASSES}
    names = [points.classes[label - 1].name for label in points.labels]
    assert names == [CLASSES[label - 1].name for label in finds.labels]


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cells.geojson"
    write_detections(path, some(2), CLASSES)
    before = path.read_bytes()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FileError, match=r"cells\.geojson cannot be written \(No space left.*another"):
        write_detections(path, some(3), CLASSES)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="save to another folder"):
        write_detections(tmp_path / "gone" / "cells.geojson", some(2), CLASSES)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_fails_while_it_is_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(export.shapely, "to_geojson", broken)
    with pytest.raises(error):
        write_detections(tmp_path / "cells.geojson", some(2), CLASSES)
    assert list(tmp_path.iterdir()) == []
