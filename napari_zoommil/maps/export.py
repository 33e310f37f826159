"""Heat maps as OME-TIFF, with the raw scores."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile

from napari_zoommil.files import replacing
from napari_zoommil.maps.heatmap import HeatMap


def file_name(title: str) -> str:
    """``grad-cam-tumour-10x`` of ``Grad-CAM tumour 10x``."""
    return re.sub(r"[^\w.+-]+", "-", title.lower())


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
