"""A prediction as files: ``prediction.json``, a map per magnification, ``patches.geojson``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.files import make_folder, write_json
from napari_zoommil.geometry import Pair, magnification_name
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps import HeatMap, display_values
from napari_zoommil.maps.export import file_name, write_ome_tiff, write_png
from napari_zoommil.slides import Slide

OVERVIEW_PX = 1200
"""Longest edge of the PNGs."""


def overview_of(slide: Slide) -> tuple[np.ndarray, Pair]:
    """A small RGB image of the slide and its level-0 px per px."""
    factor = max(1.0, max(slide.shape) / OVERVIEW_PX)
    height, width = (max(1, round(edge / factor)) for edge in slide.shape)
    downsample = (slide.shape[0] / height, slide.shape[1] / width)
    pixels = np.asarray(slide.pyramid()[-1])
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)), downsample


def summary(prediction: Prediction) -> dict[str, Any]:
    """What ``prediction.json`` holds; names no file but the slide's own."""
    return {
        "slide": prediction.slide,
        "fingerprint": prediction.fingerprint,
        "model": prediction.model,
        **prediction.task.summary(prediction.values),
        "magnifications": [
            {
                "magnification": level.magnification,
                "mpp": level.mpp,
                "patches": len(level),
                "encoded": encoded,
                "zoomed_into": sum(len(step.zoomed) for step in prediction.steps if step.level == index),
            }
            for index, (level, encoded) in enumerate(
                zip(prediction.grid.levels, prediction.cost.encoded, strict=True)
            )
        ],
        "damaged_tiles": prediction.damaged,
        "seconds": round(prediction.cost.seconds, 3),
        "device": prediction.cost.device,
    }


def patches_geojson(prediction: Prediction) -> dict[str, Any]:
    """The patches looked at as QuPath reads them: tiles with their scores as measurements."""
    features = []
    for step in prediction.steps:
        level = prediction.grid.levels[step.level]
        name = magnification_name(level.magnification)
        height, width = level.stride
        for place, (y, x) in enumerate(level.origins[step.rows]):
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
            measurements = {head: float(v) for head, v in zip(step.heads, step.scores[place], strict=True)}
            if step.grad_cam is not None:
                cams = zip(prediction.task.names, step.grad_cam[:, place], strict=True)
                measurements |= {f"Grad-CAM {label}": float(value) for label, value in cams}
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[list(map(float, c)) for c in corners]]},
                    "properties": {"objectType": "tile", "name": name, "measurements": measurements},
                }
            )
    return {"type": "FeatureCollection", "features": features}


def write_maps(slide: Slide, maps: Sequence[HeatMap], out: Path) -> list[Path]:
    """OME-TIFF and PNG of maps of one kind, percentile-scaled in the PNGs."""
    if not maps:
        return []
    overview, downsample = overview_of(slide)
    written = []
    for shown, values in zip(maps, display_values(maps, "percentile"), strict=True):
        tiff, png = (out / f"{file_name(shown)}{suffix}" for suffix in (".ome.tiff", ".png"))
        write_ome_tiff(tiff, shown)
        write_png(png, overview, downsample, shown, values)
        written += [tiff, png]
    return written


def write_prediction(slide: Slide, prediction: Prediction, out: Path) -> list[Path]:
    """Everything ``predict`` writes, into a folder of its own per slide.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    make_folder(out)
    written = []
    for kind, target in prediction.kinds:
        if kind != "grad-cam" or target == prediction.explained:
            written += write_maps(slide, prediction.maps_of(kind, target), out)
    for name, content in (
        ("patches.geojson", patches_geojson(prediction)),
        ("prediction.json", summary(prediction)),
    ):
        write_json(out / name, content)
        written.append(out / name)
    return written
