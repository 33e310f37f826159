"""Found cells as GeoJSON that QuPath opens as detections."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import Finds

CORNERS = 16
"""Of the ellipse that stands for a cell."""

_ANGLES = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
_CIRCLE = np.stack([np.sin(_ANGLES), np.cos(_ANGLES)], -1)


def write_detections(path: Path, finds: Finds, classes: Sequence[CellClass]) -> None:
    """A FeatureCollection of detections with class, colour and score; the file is replaced as a whole."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features_of(finds, classes)):
            file.write(("," if number else "") + "\n" + json.dumps(feature, ensure_ascii=False))
        file.write("\n]}\n")
    os.replace(part, path)


def features_of(finds: Finds, classes: Sequence[CellClass]) -> Iterator[dict[str, Any]]:
    """A GeoJSON feature for each find: the ellipse that fills its box, x before y."""
    half = (finds.boxes[:, 2:] - finds.boxes[:, :2]) / 2
    for centre, radii, label, score in zip(finds.centres, half, finds.labels, finds.scores, strict=True):
        of = classes[int(label) - 1]
        ring = np.round(centre + radii * _CIRCLE, 2)[:, ::-1].tolist()
        yield {
            "type": "Feature",
            "id": str(uuid5(NAMESPACE_OID, f"{centre.tolist()} {label}")),
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {
                "objectType": "detection",
                "classification": {"name": of.name, "color": list(of.colour)},
                "measurements": {"score": round(float(score), 4)},
            },
        }
