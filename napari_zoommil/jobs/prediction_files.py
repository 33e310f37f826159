"""A prediction as files: ``prediction.json``, a map per magnification, ``patches.geojson``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

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


def write_json(path: Path, content: Any) -> None:
    """JSON, replaced as a whole."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def summary(prediction: Prediction) -> dict[str, Any]:
    """What ``prediction.json`` holds; names no file but the slide's own."""
    return {
        "slide": prediction.slide,
        "fingerprint": prediction.fingerprint,
        "model": prediction.model,
        "predicted": prediction.predicted,
        "probabilities": {
            name: round(float(value), 6)
            for name, value in zip(prediction.class_names, prediction.probabilities, strict=True)
        },
        "magnifications": [
            {
                "magnification": level.magnification,
                "mpp": level.mpp,
                "patches": len(level),
                "encoded": encoded,
                "taken_from_cache": taken,
                "zoomed_into": len(step.zoomed),
            }
            for level, step, encoded, taken in zip(
                prediction.grid.levels,
                prediction.steps,
                prediction.cost.encoded,
                prediction.cost.taken,
                strict=True,
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
        height, width = level.size
        for place, (y, x) in enumerate(level.origins[step.rows]):
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
            measurements = {"attention": float(step.attention[place])} | {
                f"Grad-CAM {label}": float(cam[place])
                for label, cam in zip(prediction.class_names, step.grad_cam, strict=True)
            }
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
    overview, downsample = overview_of(slide)
    written = []
    for shown, values in zip(maps, display_values(maps, "percentile"), strict=True):
        tiff, png = (out / f"{file_name(shown)}{suffix}" for suffix in (".ome.tiff", ".png"))
        write_ome_tiff(tiff, shown)
        write_png(png, overview, downsample, shown, values)
        written += [tiff, png]
    return written


def write_prediction(slide: Slide, prediction: Prediction, out: Path) -> list[Path]:
    """Everything ``predict`` writes, into a folder of its own per slide."""
    out.mkdir(parents=True, exist_ok=True)
    written = write_maps(slide, prediction.maps_of("attention"), out)
    written += write_maps(slide, prediction.maps_of("grad-cam", prediction.predicted), out)
    for name, content in (
        ("patches.geojson", patches_geojson(prediction)),
        ("prediction.json", summary(prediction)),
    ):
        write_json(out / name, content)
        written.append(out / name)
    return written
