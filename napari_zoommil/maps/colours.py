"""Colours of overlays and classes: one place for the window, the PNGs and the reports."""

from __future__ import annotations

from functools import cache

import cmap
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import CLASS_CYCLE

ATTENTION_RAMP = "viridis"
SIGNED_RAMP = "vik"
"""Crameri's diverging blue–red, even to the eye and safe for the colour-blind."""

LARGEST_OPACITY = 0.75
STEPS = 256


def class_colour(index: int) -> str:
    """Of class ``index``, counted from 0; the same everywhere."""
    return "#{:02x}{:02x}{:02x}".format(*CLASS_CYCLE[index % len(CLASS_CYCLE)])


@cache
def ramp(signed: bool) -> NDArray[np.float32]:
    """(256, 4) RGBA in [0, 1]; low values are see-through, not dark.

    For signed maps the middle is see-through and both ends are opaque. Opacity rises with the square,
    so that tissue stays in sight under all but the strongest patches.
    """
    table = np.asarray(cmap.Colormap(SIGNED_RAMP if signed else ATTENTION_RAMP).lut(STEPS), np.float32).copy()
    place = np.linspace(0, 1, STEPS)
    strength = np.abs(2 * place - 1) if signed else place
    table[:, 3] = LARGEST_OPACITY * strength**2
    return table


def colourise(values: NDArray[np.float32], signed: bool) -> NDArray[np.float32]:
    """Display values (h, w) in [0, 1] or [−1, 1] → (h, w, 4) RGBA; NaN is transparent."""
    place = (values + 1) / 2 if signed else values
    known = ~np.isnan(place)
    index = np.where(known, np.clip(np.nan_to_num(place), 0, 1) * (STEPS - 1), 0).round().astype(int)
    rgba = ramp(signed)[index]
    rgba[~known] = 0
    return rgba
