"""Export of detected cells as GeoJSON, which QuPath opens as detections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import shapely

from napari_zoommil.annotations import CellClass
from napari_zoommil.annotations.feature import ENCODER
from napari_zoommil.cells.model import Finds
from napari_zoommil.files import write_file

CORNERS = 16
"""Corners of the ellipse that represents a cell."""

BLOCK = 1024
"""Cells formatted at once, because a slide may have millions."""

_ANGLES = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)[[*range(CORNERS), 0]]  # (x, y), closed


def write_detections(path: Path, finds: Finds, classes: Sequence[CellClass]) -> None:
    """A FeatureCollection of detections with class, colour and score.

    Raises
    ------
    FileError
        If it cannot be written; an existing file is then unchanged.
    """
    write_file(path, _document(finds, classes))


def _document(finds: Finds, classes: Sequence[CellClass]) -> Iterator[bytes]:
    yield b'{"type":"FeatureCollection","features":['
    for start in range(0, len(finds), BLOCK):
        block = finds.chosen(np.arange(start, min(start + BLOCK, len(finds))))
        yield ((",\n" if start else "\n") + ",\n".join(_features(block, classes))).encode()
    yield b"\n]}\n"


def _features(finds: Finds, classes: Sequence[CellClass]) -> Iterator[str]:
    """The text of a feature per detection: the ellipse inscribed in its box."""
    looks = [ENCODER.encode({"name": one.name, "color": one.colour}) for one in classes]
    half, centres = (finds.boxes[:, 2:] - finds.boxes[:, :2]) / 2, finds.centres
    rings = np.round(centres[:, None, ::-1] + half[:, None, ::-1] * _CIRCLE, 2)
    columns = (
        centres.tolist(),
        shapely.to_geojson(shapely.polygons(rings)),
        finds.labels.tolist(),
        finds.scores.tolist(),
    )
    for centre, outline, label, score in zip(*columns, strict=True):
        yield (
            f'{{"type":"Feature","id":"{uuid5(NAMESPACE_OID, f"{centre} {label}")}","geometry":{outline},'
            f'"properties":{{"objectType":"detection","classification":{looks[label - 1]},'
            f'"measurements":{{"score":{round(score, 4)}}}}}}}'
        )
