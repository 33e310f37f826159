"""What OME-XML says of the images of a TIFF: pixel sizes, channels, objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.channels import Channel
from napari_zoommil.slides.units import microns

FLUORESCENT = ("Fluor", "EmissionWavelength", "ExcitationWavelength")
"""Attributes of a channel that only fluorescence has."""


@dataclass(frozen=True)
class OMEImage:
    """What is said of one image.

    Attributes
    ----------
    name : str
    mpp : (float, float) or None
        µm, y and x.
    objective : float or None
        Nominal magnification.
    channels : tuple of Channel
        Those that are stored apart; empty if one holds all samples of a pixel.
    """

    name: str = ""
    mpp: Pair | None = None
    objective: float | None = None
    channels: tuple[Channel, ...] = ()


def ome_images(xml: str | None) -> list[OMEImage]:
    """The images of a file in their order; none if there is no such XML, or it is broken."""
    try:
        root = fromstring(xml) if xml else None
    except ParseError:
        root = None
    if root is None:
        return []
    objectives = {one.get("ID"): one for one in root.iter() if _tag(one) == "Objective"}
    return [_image(one, objectives) for one in root.findall("{*}Image")]


def _image(image: Element, objectives: dict[str | None, Element]) -> OMEImage:
    pixels, settings = image.find("{*}Pixels"), image.find("{*}ObjectiveSettings")
    known = list(objectives.values())
    stated = objectives.get(settings.get("ID")) if settings is not None else None
    objective = stated if stated is not None else known[0] if len(known) == 1 else None
    return OMEImage(
        image.get("Name", ""),
        None if pixels is None else _mpp(pixels),
        None if objective is None else positive(objective.get("NominalMagnification")),
        () if pixels is None else _channels(pixels.findall("{*}Channel")),
    )


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _channels(elements: Sequence[Element]) -> tuple[Channel, ...]:
    return tuple(
        Channel(one.get("Name", ""), _colour(one.get("Color")), _fluorescent(one)) for one in elements
    )


def _colour(text: str | None) -> int | None:
    """0xRRGGBB of OME's signed RGBA."""
    try:
        return (int(text or "") >> 8) & 0xFFFFFF
    except ValueError:
        return None


def _fluorescent(channel: Element) -> bool:
    return (
        any(channel.get(name) for name in FLUORESCENT)
        or channel.get("ContrastMethod") == "Fluorescence"
        or channel.get("IlluminationType") == "Epifluorescence"
    )


def positive(text: Any) -> float | None:
    """A finite number above 0; None for anything else."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


def _mpp(pixels: Element) -> Pair | None:
    found = []
    for axis in "YX":
        size = positive(pixels.get(f"PhysicalSize{axis}"))
        unit = microns(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        found.append(size * unit if size and unit else None)
    y, x = found
    return (y, x) if y and x else None
