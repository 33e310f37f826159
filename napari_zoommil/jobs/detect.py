"""``detect``: the cells of a slide, of its tissue or of regions of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from napari_zoommil.annotations.regions import Region
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.jobs.loading import cell_model_on, open_own
from napari_zoommil.jobs.parameters import (
    DeviceName,
    Icc,
    KnownTissue,
    Mpp,
    Range,
    SlideSource,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress, Steady
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue, no_tissue
from napari_zoommil.slides.readers.base import RGB

if TYPE_CHECKING:
    import torch
    from torch import nn

    from napari_zoommil.annotations import CellClass
    from napari_zoommil.cells.model import CellNetwork, Finds
    from napari_zoommil.cells.spec import CellSpec
    from napari_zoommil.cells.tiling import Area


PUBLISHED_STAINS = (
    "the stain vectors of this slide could not be estimated; those of Ruifrok and Johnston were used"
)
"""Remark on detections by haematoxylin."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Cells found on a slide.

    Attributes
    ----------
    slide, fingerprint, model : str
    classes : tuple of CellClass
    finds : Finds
        Level-0 px; also those below ``threshold`` down to ``least``, so that a lower one needs no second run.
    threshold : float
        Score from which the model's finds are meant to count.
    area_mm2 : float
        Extent of what was looked at.
    least : float
        Score that every find has at least.
    damaged : int
        Tiles of the slide that could not be decoded.
    note : str
        What the model could not do on this slide; empty if there is nothing to say.
    """

    slide: str
    fingerprint: str
    model: str
    classes: tuple[CellClass, ...]
    finds: Finds
    threshold: float
    area_mm2: float
    least: float = 0.0
    damaged: int = 0
    note: str = ""

    def counts(self, threshold: float | None = None) -> dict[str, int]:
        """Cells of each class from a score on."""
        counted = self.finds.scores >= (self.threshold if threshold is None else threshold)
        numbers = np.bincount(self.finds.labels[counted], minlength=len(self.classes) + 1)[1:]
        return {one.name: int(number) for one, number in zip(self.classes, numbers, strict=True)}

    def per_mm2(self, threshold: float | None = None) -> dict[str, float | None]:
        """The same by area; None where what was looked at has none."""
        area = self.area_mm2
        return {name: count / area if area else None for name, count in self.counts(threshold).items()}


@documented
def detect(
    slide: SlideSource,
    model: str = "yollo",
    *,
    regions: Sequence[Region] = (),
    tissue: KnownTissue = None,
    mpp: Mpp = None,
    icc: Icc = False,
    device: DeviceName = "auto",
    batch_size: Annotated[int, Range(1, 256, unit="tiles")] = 4,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Detection]:
    """Find the cells on a slide.

    Parameters
    ----------
    model : str
        Shipped model, folder or hub name of a cell model.
    regions : sequence of (n, 2) array or shapely polygon
        Level-0 y and x; searched without their holes, as far as they lie on the slide. All tissue by default.
    batch_size : int
        Tiles searched at once, and so between two chances to cancel.

    Returns
    -------
    Detection

    Raises
    ------
    AnnotationError
        If the regions cover nothing of the slide.
    MagnificationError
        If the slide was scanned too coarsely for the model.
    MissingResolutionError
        If the slide's resolution is not known.
    ModelError
        If there is no such cell model, or one tile is too much for the device.
    NoTissueError
        If nothing on the slide is tissue, and there are no regions.
    """
    from napari_zoommil.cells.model import fitting, least_score, require_resolution
    from napari_zoommil.cells.tiling import CORE_PX, in_core, merge_seams, read_tiles, tile_corners
    from napari_zoommil.encoders.device import choose_device, cpu_threads

    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")
        chosen = choose_device(device)
        network, spec = stack.enter_context(cell_model_on(chosen, model))
        require_resolution(own, spec.mpp)
        stack.enter_context(cpu_threads(threads))
        network, remark = yield from _adapted(network, spec, own, tissue)
        area = yield from _area(own, regions, tissue)
        resolution = own.resolution()
        downsample = _downsample(own, spec.mpp)
        corners = tile_corners(own.shape, downsample, area)
        margin = (fitting(network, CORE_PX + 2 * network.margin) - CORE_PX) // 2
        tiles = stack.enter_context(closing(read_tiles(own, corners, margin, spec.mpp, batch_size, workers)))
        parts: list[Finds] = []
        total, counted, steady = len(corners), 0, Steady()
        yield Progress(0, total, f"{own.name}: 0 of {total:,} tiles")
        for some, pixels in tiles:
            new = [in_core(one, margin) for one in _found(network, spec, pixels, chosen.torch)]
            parts += new
            partial = _on_slide(merge_seams(new, some), downsample, area)
            counted += int((partial.scores >= spec.threshold).sum())
            note = f"{own.name}: {len(parts):,} of {total:,} tiles, {counted:,} cells"
            yield Progress(len(parts), total, note, partial, steady.seconds_left(len(parts), total))
        finds = _on_slide(merge_seams(parts, corners), downsample, area)
        mm2 = area.px * resolution[0] * resolution[1] / 1e6
        told = (own.name, own.fingerprint, model, spec.classes, finds, spec.threshold, mm2)
        return Detection(*told, least_score(network, spec), own.damaged, remark)


def tile_count(slide: Slide, mpp: float, regions: Sequence[Region] = (), tissue: Tissue | None = None) -> int:
    """How many tiles a search looks at.

    Parameters
    ----------
    slide : Slide
        Of known resolution.
    mpp : float
        µm/px that the model sees.
    regions, tissue
        As for :func:`detect`; the whole slide without either.
    """
    from napari_zoommil.cells.tiling import OnTissue, Regions, tile_corners

    if not regions and tissue is not None:
        area: Area = OnTissue(tissue, slide.shape)
    else:
        height, width = slide.shape
        area = Regions(regions or [np.array([(0, 0), (0, width), (height, width), (height, 0)])], slide.shape)
    return len(tile_corners(slide.shape, _downsample(slide, mpp), area))


def _downsample(slide: Slide, mpp: float) -> tuple[float, float]:
    resolution = slide.resolution()
    return mpp / resolution[0], mpp / resolution[1]


def _area(slide: Slide, regions: Sequence[Region], tissue: Tissue | None) -> Job[Area]:
    """Where cells are looked for: regions, or tissue where there are none."""
    from napari_zoommil.cells.tiling import OnTissue, Regions

    if regions:
        drawn = Regions(regions, slide.shape)
        if not drawn.px:
            height, width = slide.shape
            raise AnnotationError(
                f"the regions cover nothing of {slide.name}, which has {width:,} × {height:,} px; "
                "draw them on it"
            )
        return drawn
    if tissue is None:
        tissue = yield from find_tissue(slide)
    if not tissue.mask.any():
        raise no_tissue(slide)
    return OnTissue(tissue, slide.shape)


def _adapted(
    network: CellNetwork, spec: CellSpec, slide: Slide, tissue: Tissue | None
) -> Job[tuple[CellNetwork, str]]:
    """The model for a slide, and a remark: the classical detector takes the stains of the slide's tissue."""
    from napari_zoommil.cells.haematoxylin import Haematoxylin
    from napari_zoommil.cells.tiling import sample_tiles

    if not isinstance(network, Haematoxylin):
        return network, ""
    if tissue is None:
        tissue = yield from find_tissue(slide)
    yield Progress(0, 1, "estimating the stain vectors")
    adapted = network.adapted(sample_tiles(slide, tissue, spec.mpp))
    return adapted, "" if adapted.stains.estimated else PUBLISHED_STAINS


def _found(network: nn.Module, spec: CellSpec, pixels: RGB, device: torch.device) -> list[Finds]:
    """Cells of each tile of a batch, which is halved until it fits on the device."""
    import torch

    from napari_zoommil.cells import model
    from napari_zoommil.encoders.device import autocast

    try:
        with autocast(device):
            return model.find(network, spec, model.as_images(pixels).to(device))
    except torch.OutOfMemoryError:
        if len(pixels) == 1:
            raise ModelError(
                f"{device} has too little memory for one tile; free it, or take another device"
            ) from None
    torch.cuda.empty_cache()
    parts = np.array_split(pixels, 2)
    return [one for part in parts for one in _found(network, spec, part, device)]


def _on_slide(finds: Finds, downsample: tuple[float, float], area: Area) -> Finds:
    """From px of the model's resolution to level-0 px, within the area."""
    from napari_zoommil.cells.model import Finds

    moved = Finds(finds.boxes * np.tile(downsample, 2), finds.scores, finds.labels)
    return moved.chosen(area.contains(moved.centres))
