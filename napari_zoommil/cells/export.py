"""Export of detected cells as GeoJSON, which QuPath opens as detections, and as a table."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from hashlib import sha1
from pathlib import Path
from uuid import NAMESPACE_OID

import numpy as np
import shapely

from napari_zoommil.annotations import CellClass
from napari_zoommil.annotations.feature_text import ENCODER
from napari_zoommil.cells.model import Finds
from napari_zoommil.files import replacing
from napari_zoommil.geometry import Pair

CORNERS = 16
"""Corners of the ellipse that represents a cell."""

BLOCK = 4096
"""Cells formatted at once, because a slide may have millions."""

COLUMNS = (
    "centre_x_um",
    "centre_y_um",
    "centre_x_level0_px",
    "centre_y_level0_px",
    "width_um",
    "height_um",
    "class",
    "score",
)
"""Columns of the table of cells."""

_ANGLES = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)[[*range(CORNERS), 0]]  # (x, y), closed


Steps = Generator[int, None, None]
"""Yields how many cells have been written to a new file."""


def write_detections(
    path: Path, finds: Finds, classes: Sequence[CellClass], origin: Pair = (0.0, 0.0)
) -> None:
    """A FeatureCollection of detections with class, colour and score.

    Parameters
    ----------
    path : Path
    finds : Finds
        Level-0 px.
    classes : sequence of CellClass
    origin : (float, float)
        Level-0 (y, x) from which QuPath counts coordinates on the slide.

    Raises
    ------
    FileError
        If it cannot be written; an existing file is then unchanged.
    """
    with replacing(path) as new:
        deque(detection_steps(new, finds, classes, origin), 0)


def detection_steps(
    path: Path, finds: Finds, classes: Sequence[CellClass], origin: Pair = (0.0, 0.0)
) -> Steps:
    """The content of :func:`write_detections` to a new file, step by step.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    return _write(path, _document(finds, classes, origin), len(finds))


def table_steps(path: Path, finds: Finds, classes: Sequence[CellClass], mpp: Pair) -> Steps:
    """A line per cell to a new CSV file, see :data:`COLUMNS`, step by step.

    Parameters
    ----------
    path : Path
    finds : Finds
        Level-0 px.
    classes : sequence of CellClass
    mpp : (float, float)
        Level-0 pixel size, µm, (y, x).

    Raises
    ------
    OSError
        If it cannot be written.
    """
    return _write(path, _table(finds, classes, mpp), len(finds))


def _write(path: Path, parts: Iterable[bytes], count: int) -> Steps:
    """Write parts, each but the first and the last with :data:`BLOCK` cells."""
    with path.open("xb") as file:
        for number, part in enumerate(parts):
            file.write(part)
            yield min(number * BLOCK, count)


def _table(finds: Finds, classes: Sequence[CellClass], mpp: Pair) -> Iterator[bytes]:
    yield _lines([COLUMNS])
    centres, size = finds.centres, finds.boxes[:, 2:] - finds.boxes[:, :2]
    um = np.round(np.hstack([centres * mpp, size * mpp]), 2)[:, [1, 0, 3, 2]]
    px = np.round(centres[:, ::-1], 2)
    names = [one.name for one in classes]
    for start in range(0, len(finds), BLOCK):
        part = slice(start, start + BLOCK)
        columns = (column[part].tolist() for column in (um, px, finds.labels - 1, finds.scores))
        yield _lines(
            (x_um, y_um, x, y, width, height, names[label], round(score, 4))
            for (x_um, y_um, width, height), (x, y), label, score in zip(*columns, strict=True)
        )


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _document(finds: Finds, classes: Sequence[CellClass], origin: Pair) -> Iterator[bytes]:
    yield b'{"type":"FeatureCollection","features":['
    for start in range(0, len(finds), BLOCK):
        block = finds.chosen(np.arange(start, min(start + BLOCK, len(finds))))
        yield ((",\n" if start else "\n") + ",\n".join(_features(block, classes, origin))).encode()
    yield b"\n]}\n"


def _features(finds: Finds, classes: Sequence[CellClass], origin: Pair) -> Iterator[str]:
    """The text of a feature per detection: the ellipse inscribed in its box."""
    looks = [ENCODER.encode({"name": one.name, "color": one.colour}) for one in classes]
    half, centres = (finds.boxes[:, 2:] - finds.boxes[:, :2]) / 2, finds.centres
    shown = centres - origin
    rings = np.round(shown[:, None, ::-1] + half[:, None, ::-1] * _CIRCLE, 2)
    columns = (
        centres.tolist(),
        shapely.to_geojson(shapely.polygons(rings)),
        finds.labels.tolist(),
        finds.scores.tolist(),
    )
    for centre, outline, label, score in zip(*columns, strict=True):
        yield (
            f'{{"type":"Feature","id":"{_id(f"{centre} {label}")}","geometry":{outline},'
            f'"properties":{{"objectType":"detection","classification":{looks[label - 1]},'
            f'"measurements":{{"score":{round(score, 4)}}}}}}}'
        )


def _id(name: str) -> str:
    """``uuid5(NAMESPACE_OID, name)``, faster."""
    digest = bytearray(sha1(NAMESPACE_OID.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
