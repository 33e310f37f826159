"""Heat maps as files: OME-TIFF with the raw scores, PNG over the slide."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_zoommil.files import replacing
from napari_zoommil.geometry import Pair
from napari_zoommil.maps.colours import colourise
from napari_zoommil.maps.heatmap import HeatMap


def file_name(shown: HeatMap) -> str:
    """``attention-10x``, ``grad-cam-tumour-10x``."""
    return re.sub(r"[^\w.+-]+", "-", shown.title.lower())


def write_ome_tiff(path: Path, shown: HeatMap) -> None:
    """Raw scores, float32, NaN where nothing was looked at; pixel size and place in µm."""
    metadata: dict[str, object] = {"axes": "YX", "Name": shown.title}
    if shown.mpp is not None:
        size = np.asarray(shown.downsample) * shown.mpp
        place = (np.asarray(shown.origin) + np.asarray(shown.downsample) / 2) * shown.mpp
        metadata |= {
            "PhysicalSizeY": float(size[0]),
            "PhysicalSizeX": float(size[1]),
            "PhysicalSizeYUnit": "µm",
            "PhysicalSizeXUnit": "µm",
            "Plane": {
                "PositionY": float(place[0]),
                "PositionX": float(place[1]),
                "PositionYUnit": "µm",
                "PositionXUnit": "µm",
            },
        }
    with replacing(path) as part:
        tifffile.imwrite(part, shown.values, ome=True, metadata=metadata, compression="zlib")


def paint(
    overview: NDArray[np.uint8], downsample: Pair, shown: HeatMap, values: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """A map over an overview of the slide.

    Parameters
    ----------
    overview : (h, w, 3) uint8
    downsample : (float, float)
        Level-0 px per overview px.
    shown : HeatMap
    values : (m, n) float32
        Display values of the map.

    Returns
    -------
    (h, w, 3) uint8
    """
    rgba = colourise(values, shown.signed)
    centres = [(np.arange(n) + 0.5) * d for n, d in zip(overview.shape[:2], downsample, strict=True)]
    index = [
        np.floor((c - o) / d).astype(int)
        for c, o, d in zip(centres, shown.origin, shown.downsample, strict=True)
    ]
    inside = [(i >= 0) & (i < n) for i, n in zip(index, values.shape, strict=True)]
    over = rgba[np.ix_(*(np.where(ok, i, 0) for i, ok in zip(index, inside, strict=True)))]
    alpha = over[..., 3:] * (inside[0][:, None] & inside[1][None])[..., None]
    return (overview * (1 - alpha) + 255 * over[..., :3] * alpha).round().astype(np.uint8)


def write_png(
    path: Path, overview: NDArray[np.uint8], downsample: Pair, shown: HeatMap, values: NDArray[np.float32]
) -> None:
    """:func:`paint` as a PNG."""
    with replacing(path) as part:
        Image.fromarray(paint(overview, downsample, shown, values)).save(part, "PNG")
