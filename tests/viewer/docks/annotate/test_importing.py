from __future__ import annotations

import json
from pathlib import Path

from napari_zoommil.annotations import Points
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.annotate.importing import what_came

RING = [[10, 10], [90, 10], [90, 90], [10, 10]]


def test_what_cannot_be_read_is_told_where_it_is_imported(small_slide: Path, tmp_path: Path) -> None:
    outlines = [[RING], [[[1, 2], [3, 4]]], [[[-900, -900], [-800, -900], [-800, -800], [-900, -900]]]]
    geometries = [{"type": "Polygon", "coordinates": one} for one in outlines]
    geometries += [{"type": "Point", "coordinates": [5, 5]}, {"type": "LineString", "coordinates": RING}]
    features = [{"type": "Feature", "geometry": one, "properties": {}} for one in geometries]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(features))
    points = Points.read(path)
    with Slide.open(small_slide) as slide:
        told = what_came(list(points.features.values()), slide, path.name)
    assert told.split("; ") == [
        "2 regions, 1 point of a.geojson added",
        "1 of the regions lie off this slide: were they drawn on another one?",
        "1 outline cannot be read and only kept in the file",
        "1 other object, such as lines, are kept in the file and not shown",
    ]
