"""Colours of overlays and classes: one place for the window, the PNGs and the reports."""

from __future__ import annotations

from functools import cache

import cmap
import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations.classes import CLASS_CYCLE

Pixels = NDArray[np.uint8]

RAMP = ("#0090ff", "#00e0d0", "#ffee00")
"""Lighter from step to step. Through half of its opacity, it stays a colour on tissue: greens turn grey on
pink, as their complement, and darker blues and reds are those of the stains."""

SIGNED_RAMP, WEAK, STRONG = "vik", 0.35, 0.12
"""Crameri's diverging blue–red, safe for the colour-blind. Without its white middle, which would veil the
tissue where values are near 0, and its dark ends, which would bury nuclei."""

FILL_OPACITY, FILL_POWER = 0.55, 0.45
"""Largest opacity of patches, and how it rises: what is little above the average is seen, and the strongest
does not bury the tissue."""

LINE_POWER = 0.25
"""How the opacity of outlines rises, to 1."""

FRAME_COLOURS = ("#111111", "#d55e00", "#7b2d8b", "#0072b2")
"""Of frames round the patches zoomed into, from the lowest magnification on."""

STEPS = 256


def class_colour(index: int) -> str:
    """Of class ``index``, counted from 0; the same everywhere."""
    return "#{:02x}{:02x}{:02x}".format(*CLASS_CYCLE[index % len(CLASS_CYCLE)])


def frame_colour(level: int) -> str:
    """Of the frames of a magnification, counted from the lowest."""
    return FRAME_COLOURS[level % len(FRAME_COLOURS)]


@cache
def ramp(signed: bool, line: bool = False) -> NDArray[np.uint8]:
    """(256, 4) RGBA of patches, or of their outlines; low values are see-through, not dark.

    For signed maps the middle is see-through and both ends are the most opaque.
    """
    place = np.linspace(0, 1, STEPS)
    strength = np.abs(2 * place - 1) if signed else place
    if signed:
        from_low_end = WEAK + (STRONG - WEAK) * strength
        table = np.array(cmap.Colormap(SIGNED_RAMP)(np.where(place < 0.5, from_low_end, 1 - from_low_end)))
        strength = strength - strength.min()
    else:
        table = np.array(cmap.Colormap(list(RAMP))(place))
    table[:, 3] = strength**LINE_POWER if line else FILL_OPACITY * strength**FILL_POWER
    found = (255 * table).round().astype(np.uint8)
    found.flags.writeable = False
    return found


def colourise(places: NDArray[np.float32], signed: bool, line: bool = False) -> Pixels:
    """Places on a ramp (…), 0 to 1 → (…, 4) RGBA; NaN is see-through."""
    known = ~np.isnan(places)
    index = np.where(known, np.clip(np.nan_to_num(places), 0, 1) * (STEPS - 1), 0).round().astype(np.intp)
    rgba = ramp(signed, line)[index]
    rgba[~known] = 0
    return rgba


def over(below: Pixels, above: Pixels) -> Pixels:
    """RGBA pixels (h, w, 4) painted over RGB pixels (h, w, 3)."""
    alpha = above[..., 3:].astype(np.float32) / 255
    return (below * (1 - alpha) + above[..., :3] * alpha).round().astype(np.uint8)
