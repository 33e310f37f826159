"""Parts of the Detect dock: where cells are looked for, how, and what of them is there already."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import napari

from napari_zoommil.annotations.regions import Region, covered
from napari_zoommil.cells.spec import CellModel
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.detect import Detection, tile_count
from napari_zoommil.jobs.progress import duration
from napari_zoommil.viewer.docks.detect.result import area_text
from napari_zoommil.viewer.layers.detections import cells_layer, show_cells
from napari_zoommil.viewer.open_slide import OpenSlide, ResultKey

LARGE_MM2 = 5.0
PAINT_SECONDS = 1.0
PAINT_AT_ONCE = 10_000
"""Cells whose painting is worth a second of waiting for more."""


@dataclass(frozen=True)
class Place:
    """Where cells are looked for.

    Attributes
    ----------
    entry : OpenSlide
    regions : tuple of Region
        The tissue where there are none.
    mm2 : float or None
        Their extent; None where the tissue is not known yet.
    most : float
        It is not more than this, mm².
    """

    entry: OpenSlide
    regions: tuple[Region, ...]
    mm2: float | None
    most: float

    def tiles(self, mpp: float) -> int:
        """How many tiles of a model that sees so many µm/px; at most, where the tissue is not known yet."""
        return tile_count(self.entry.slide, mpp, self.regions, self.entry.tissue)


def place_of(entry: OpenSlide, regions: tuple[Region, ...]) -> tuple[Place | None, str]:
    """Where to look on a slide whose resolution is known; why nowhere, if so."""
    slide, mpp = entry.slide, entry.slide.resolution()
    um2 = mpp[0] * mpp[1]
    if not regions:
        found = tissue_mm2(entry, mpp)
        return Place(
            entry, (), found, slide.shape[0] * slide.shape[1] * um2 / 1e6 if found is None else found
        ), ""
    area = covered(regions, slide.shape).area * um2 / 1e6
    return (Place(entry, regions, area, area), "") if area else (None, "The regions are not on the slide")


def tissue_mm2(entry: OpenSlide, mpp: Pair) -> float | None:
    """Extent of a slide's tissue, as far as somebody has looked for it."""
    if entry.tissue is None:
        return None
    step = entry.tissue.downsample
    return float(entry.tissue.mask.sum() * step[0] * step[1] * mpp[0] * mpp[1] / 1e6)


def area_sentence(place: Place, seconds: float | None) -> str:
    """``0.31 mm², about 12 s by the last run``: how large a search is and how long it takes, if known."""
    if place.mm2 is None:
        told = f"The tissue, at most {area_text(place.most)}"
    else:
        told = area_text(place.mm2) + ("" if place.regions else " of tissue")
    if seconds is not None:
        return f"{told}, {'at most' if place.mm2 is None else 'about'} {duration(seconds)} by the last run"
    if place.most > LARGE_MM2:
        return f"{told}. This takes a while (not known yet how long); cells appear as they are found"
    return f"{told}. How long it takes is not known yet"


@dataclass(eq=False)
class Search:
    """A search that is under way."""

    entry: OpenSlide
    key: ResultKey
    model: CellModel
    device: str
    parts: list[Any] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    result: Detection | None = None

    def __post_init__(self) -> None:
        self._painted = self.started

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def paint(self, viewer: napari.Viewer, part: Any) -> None:
        """Show what has been found so far, but not more often than the window can bear; a result that is
        shown stays until the next one is whole."""
        if self.entry.detection is not None:
            return
        self.parts.append(part)
        wait = PAINT_SECONDS * (1 + sum(map(len, self.parts)) / PAINT_AT_ONCE)
        if time.monotonic() - self._painted < wait:
            return
        finds = type(part).together(self.parts)
        self.parts = [finds]
        slide, model = self.entry.slide, self.model
        so_far = Detection(
            slide.name, "", model.name, model.classes, finds, model.threshold, 0.0, origin=slide.origin
        )
        show_cells(viewer, slide, so_far, model.title)
        self._painted = time.monotonic()

    def take_back(self, viewer: napari.Viewer) -> None:
        """Remove what was painted."""
        layer = cells_layer(viewer, self.entry.slide, self.model.title)
        if self.entry.detection is None and layer is not None:
            viewer.layers.remove(layer)
