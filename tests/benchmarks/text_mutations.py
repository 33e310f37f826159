"""Damage to texts: GeoJSON, configurations and tables with bytes or values changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
from mutations import Layout, duplicate, fill, flip, shift, truncate

BIG = 10**400

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 1e308, -1e308, float("nan"), float("inf"), BIG, 2**63, 1e-320,
    "", " ", "0", "1e9", "NaN", "\ud800", "\x00", "Ünïcödé 😐", "<img src=x>", "a\nb", "../../x", "x" * 5000,
    [], {}, [[]], [{}], [None], [0, 0], [1, 2, 3, 4], [float("nan"), 1.0], ["1", "2"], {"type": "Feature"},
    {"type": "Point", "coordinates": [1e13, 0]}, {"type": "GeometryCollection", "geometries": [None]},
    "Feature", "FeatureCollection", "Polygon", "MultiPolygon", "MultiPoint", "LineString", "cell",
)  # fmt: skip
"""Values that a reader has to think about."""

ODD_CELLS = (
    "", " ", "NA", "nan", '"', '""', '"a,b', "a;b", "\t", "\n", "\r", "\x00", "../x.svs", "/dev/zero",
    "😐.svs", "0", "1e999", "-1", "train", "test", "val", "Train", "x" * 140_000, ",", "=1+1", "1,5",
    "\ufeff", ".", "..", "~", "x" * 300,
)  # fmt: skip

Mutation = Callable[[bytearray, Layout, str, np.random.Generator], str]

BYTES: tuple[Mutation, ...] = (
    lambda *given: flip(*given, many=False),
    lambda *given: flip(*given, many=True),
    fill,
    duplicate,
    shift,
    truncate,
)


def bytes_changed(text: bytes, rng: np.random.Generator) -> bytes:
    """A text with bytes flipped, filled, copied, cut out or cut off."""
    content = bytearray(text)
    BYTES[rng.integers(len(BYTES))](content, Layout({"file": [(0, len(text))]}, []), "file", rng)
    return bytes(content)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a JSON document, as its container and key."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from nodes(value[key])


def values_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """A JSON document in which one to three values are others, are gone, repeated, nested or exchanged."""
    document = json.loads(content)
    for _ in range(int(rng.integers(1, 4))):
        places = list(nodes(document))
        if not places:
            break
        (holder, key), (other, place) = (places[rng.integers(len(places))] for _ in range(2))
        kind = rng.integers(6)
        if kind < 3:
            holder[key] = json.loads(json.dumps(ODD[rng.integers(len(ODD))]))
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            holder[key] = json.loads(json.dumps(other[place]))
        else:
            holder[key] = (
                [holder[key]] if rng.integers(2) else {"type": holder[key], "coordinates": [holder[key]]}
            )
    return json.dumps(
        document, ensure_ascii=bool(rng.integers(2)), indent=int(rng.integers(3)) or None
    ).encode("utf-8", "surrogatepass")


def json_changed(text: bytes, rng: np.random.Generator) -> bytes:
    """A JSON document, damaged; a tenth are nested deeply, repeated, or in another encoding."""
    kind = rng.random()
    if kind < 0.5:
        return values_changed(text, rng)
    if kind < 0.9:
        return bytes_changed(text, rng)
    depth = int(10 ** rng.uniform(1, 5))
    return (
        b"[" * depth + text + b"]" * depth,
        text.replace(b"[", b"[" * min(depth, 2000), 1),
        text + text,
        text.decode().encode(("utf-16", "utf-32-le", "latin-1", "utf-8-sig")[rng.integers(4)], "replace"),
        text.replace(b'"id"', b'"id":"same","id"'),
    )[rng.integers(5)]


def table_changed(text: bytes, rng: np.random.Generator) -> bytes:
    """A table, damaged in bytes, or with other cells, lines or separators."""
    if rng.random() < 0.4:
        return bytes_changed(text, rng)
    rows = [line.split(",") for line in text.decode().splitlines()]
    for _ in range(int(rng.geometric(0.6))):
        row, kind = rows[rng.integers(len(rows))], rng.integers(5)
        if kind < 3 and row:
            row[rng.integers(len(row))] = ODD_CELLS[rng.integers(len(ODD_CELLS))]
        elif kind == 3:
            rows.insert(int(rng.integers(len(rows))), list(row))
        else:
            row[len(row) // 2 :] = row[len(row) // 2 + 1 :] if rng.integers(2) else [*row, ""]
    separator = ",;\t|"[rng.integers(4) if rng.random() < 0.2 else 0]
    end = ("\n", "\r\n", "\r")[rng.integers(3)]
    changed = end.join(separator.join(row) for row in rows)
    encodings = ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252")
    return changed.encode(encodings[rng.integers(8)], "replace")


def feature(geometry: Any, number: int, **properties: Any) -> dict[str, Any]:
    known = {"objectType": "annotation", **properties}
    return {"type": "Feature", "id": str(UUID(int=number)), "geometry": geometry, "properties": known}


def ring(x: float, y: float, size: float) -> list[list[float]]:
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]


def documents() -> list[bytes]:
    """Sound annotation files of every form: collection, list, feature, geometry, as text, and XML."""
    tumour = {"name": "Tumour", "color": [200, 0, 0]}
    as_text = json.dumps(tumour)
    square = {"type": "Polygon", "coordinates": [ring(10, 20, 200), ring(60, 70, 50)]}
    point = {"type": "Point", "coordinates": [30.5, 40.25]}
    features = [
        feature(point, 1, classification=tumour, metadata={"annotator": "a", "cell_diameter_um": "8"}),
        feature({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4], [5.5, 6]]}, 2, classification=tumour),
        feature(square, 3, classification={"names": ["a", "b"], "colorRGB": -3670016}),
        feature({"type": "Polygon", "coordinates": [ring(0, 0, 90)]}, 4, metadata={"zoommil": "complete"}),
        feature({"type": "MultiPolygon", "coordinates": [[ring(300, 0, 40)], [ring(400, 0, 40)]]}, 5),
        feature({"type": "Polygon", "coordinates": [ring(5, 5, 9)]}, 6, objectType="cell"),
        feature({"type": "GeometryCollection", "geometries": [square, point]}, 7, classification=as_text),
        feature({"type": "LineString", "coordinates": [[0, 0], [9, 9]]}, 8, name="line"),
    ]
    own = {"classes": [{"name": "Tumour", "color": [200, 0, 0], "cell_diameter_um": 8}], "origin": [5, 7]}
    collection = {"type": "FeatureCollection", "features": features}
    whole = [
        collection,
        {**collection, "napari_zoommil": own},
        features,
        features[0],
        features[2],
        square,
        point,
    ]
    return [json.dumps(one).encode() for one in whole]


def tables(slides: list[str]) -> list[bytes]:
    """Sound tables of slides with labels, splits, groups and folds."""
    splits = ("train", "train", "val", "test")
    rows = [(name, f"c{at % 2}", splits[at % 4], f"p{at}", str(at % 3)) for at, name in enumerate(slides)]
    headers = (("slide", "label"), ("slide", "label", "split", "group"), ("slide", "label", "group", "fold"))
    columns = ((0, 1), (0, 1, 2, 3), (0, 1, 3, 4))
    return [
        "\n".join([",".join(header), *(",".join(row[at] for at in of) for row in rows)]).encode()
        for header, of in zip(headers, columns, strict=True)
    ]
