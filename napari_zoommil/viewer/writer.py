"""Writers for napari's *Save Layers*: annotations as GeoJSON, overlays as pictures; a slide is not copied.

napari's own folder writer stops at the first layer that it cannot write, which a slide's pyramid is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
from napari_builtins.io import write_layer_data_with_plugins
from npe2 import write

from napari_zoommil.annotations import Points
from napari_zoommil.files import GEOJSON, make_folder, with_ending, write_json
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.metadata import DOCUMENT, SLIDE

LayerData = tuple[Any, Any, Any]
"""Data, metadata and kind of a layer."""

LARGEST_PICTURE_PX = 1 << 24
"""Of an overlay the finest level that is not larger is saved."""


def write_annotations(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """A layer of points or regions, as the GeoJSON of its document: both, with their classes.

    Other layers are tables of napari's own, also where no ending was given and napari chose this writer.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    document = _document(meta)
    if document is None:
        kind = "shapes" if "shape_type" in meta else "points"
        return _by_napari(Path(path).with_suffix(".csv"), (data, meta, kind))
    file = with_ending(Path(path), GEOJSON)
    document.write(file)
    return [str(file)]


def write_layers(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Layers as files in a folder; those that are not of a slide are written by napari.

    Raises
    ------
    FileError
        If something cannot be written.
    """
    if not any(SLIDE in meta.get("metadata", {}) for _, meta, _ in layers):
        return write_layer_data_with_plugins(path, list(layers))
    folder, written = make_folder(Path(path)), list[str]()
    done: set[int] = set()
    for data, meta, kind in layers:
        document, slide = _document(meta), _slide(meta)
        name = _file_name(str(meta.get("name", kind)))
        if document is not None:
            if id(document) not in done:  # points and regions are one file
                written += write_annotations(
                    str(folder / f"{name.split(' · ')[0]}.points.geojson"), data, meta
                )
            done.add(id(document))
        elif isinstance(meta.get("metadata", {}).get(SLIDE), Slide):
            written.append(_write_place(folder, slide, name))
        else:
            flat = (_small(data, meta), {**meta, "multiscale": False}, kind)
            written += _by_napari(folder / name, flat)
    return written


def _document(meta: dict[str, Any]) -> Points | None:
    held = meta.get("metadata", {}).get(DOCUMENT)
    return held() if isinstance(held, ref) else None


def _slide(meta: dict[str, Any]) -> Slide | None:
    held = meta.get("metadata", {}).get(SLIDE)
    return held() if isinstance(held, ref) else held


def _file_name(name: str) -> str:
    return name.replace("/", "-").replace("\\", "-")


def _write_place(folder: Path, slide: Slide | None, name: str) -> str:
    """Where a slide is, instead of a copy of it."""
    assert slide is not None
    file = folder / f"{name}.slide.json"
    size = list(slide.mpp) if slide.mpp else None
    write_json(file, {"slide": slide.name, "fingerprint": slide.fingerprint, "mpp": size})
    return str(file)


def _small(data: Any, meta: dict[str, Any]) -> Any:
    """The data of a layer; of an overlay of several levels one that fits into a picture."""
    if not meta.get("multiscale"):
        return data
    fitting = [level for level in data if np.prod(level.shape[:2]) <= LARGEST_PICTURE_PX]
    return np.asarray(fitting[0] if fitting else data[-1])


def _by_napari(path: Path, layer: LayerData) -> list[str]:
    return write(path=str(path), layer_data=[layer], plugin_name="napari")
