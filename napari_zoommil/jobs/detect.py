"""``detect``: the cells of a slide, of its tissue or of regions of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from napari_zoommil.annotations.regions import Region
from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import NO_TRAINING, UNKNOWN, Familiarity, Verdict
from napari_zoommil.geometry import Box, Pair
from napari_zoommil.jobs.familiarity import require_fit
from napari_zoommil.jobs.loading import cell_model_on, is_in_memory, open_own
from napari_zoommil.jobs.pace import DETECT, Stopwatch, Work
from napari_zoommil.jobs.parameters import (
    DeviceName,
    Icc,
    Inside,
    KnownTissue,
    Mpp,
    Range,
    SlideSource,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import area_on, find_tissue
from napari_zoommil.model_folder import familiarity_of
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
    tissue_mm2 : float
        Tissue within ``area_mm2``; 0 if none was detected there.
    mpp : (float, float)
        Level-0 pixel size, µm, (y, x).
    familiarity : Verdict
        How much of what was searched is unlike what the model was trained on.
    note : str
        What the model could not do on this slide; empty if there is nothing to say.
    origin : (float, float)
        Level-0 (y, x) from which QuPath counts coordinates on the slide.
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
    tissue_mm2: float = 0.0
    mpp: Pair = (1.0, 1.0)
    familiarity: Verdict = UNKNOWN
    note: str = ""
    origin: Pair = (0.0, 0.0)

    @property
    def counted_mm2(self) -> float:
        """The area that densities refer to: the tissue, or all that was searched if none is known there."""
        return self.tissue_mm2 or self.area_mm2

    @property
    def area_kind(self) -> str:
        """What ``counted_mm2`` is the area of: ``tissue`` or ``searched area``."""
        return "tissue" if self.tissue_mm2 else "searched area"

    @property
    def extent(self) -> str:
        """``tissue: 1.2 of 1.9 mm²``: the area that densities refer to, of all that was searched."""
        searched, tissue = (f"{mm2:.3g}" for mm2 in (self.area_mm2, self.tissue_mm2))
        if not self.tissue_mm2:
            return f"searched area: {searched} mm², none of it known as tissue"
        return (
            f"tissue: {tissue} mm²" if searched == tissue else f"tissue: {tissue} of {searched} mm² searched"
        )

    def counting(self, threshold: float | None = None) -> Finds:
        """The cells from a score on, the model's threshold by default."""
        return self.finds.chosen(self.finds.scores >= (self.threshold if threshold is None else threshold))

    def counts(self, threshold: float | None = None) -> dict[str, int]:
        """Cells of each class from a score on."""
        counting = self.finds.scores >= (self.threshold if threshold is None else threshold)
        numbers = np.bincount(self.finds.labels[counting], minlength=len(self.classes) + 1)[1:]
        return {one.name: int(number) for one, number in zip(self.classes, numbers, strict=True)}

    def per_mm2(self, threshold: float | None = None) -> dict[str, float | None]:
        """The same by :attr:`counted_mm2`; None if that is 0."""
        area = self.counted_mm2
        return {name: count / area if area else None for name, count in self.counts(threshold).items()}


@documented
def detect(
    slide: SlideSource,
    model: str = "yollo",
    *,
    regions: Inside = (),
    tissue: KnownTissue = None,
    mpp: Mpp = None,
    icc: Icc = False,
    device: DeviceName = "auto",
    batch_size: Annotated[int, Range(1, 256, unit="tiles")] = 2,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Detection]:
    """Find the cells on a slide.

    Parameters
    ----------
    model : str
        Shipped model, folder or hub name of a cell model.
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
    watch = Stopwatch(Work(DETECT, model, device, threads), not is_in_memory(model, "cells"))
    from napari_zoommil.cells.compared import TileSample
    from napari_zoommil.cells.model import fitting, least_score, require_resolution
    from napari_zoommil.cells.tiling import CORE_PX, in_core, merge_seams, read_tiles, tile_corners
    from napari_zoommil.encoders.device import choose_device, cpu_threads

    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")
        chosen = choose_device(device)
        network, spec = stack.enter_context(cell_model_on(chosen, model))
        watch.loaded()
        known = _statistics(model, network)
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
        sample = TileSample(corners, margin, downsample, area)
        total, counted = len(corners), 0
        yield Progress(0, total, f"{own.name}: 0 of {total:,} tiles")
        for some, pixels in tiles:
            sample.add(len(parts), pixels)
            new = [in_core(one, margin) for one in _found(network, spec, pixels, chosen.torch)]
            parts += new
            partial = _on_slide(merge_seams(new, some), downsample, area)
            counted += int((partial.scores >= spec.threshold).sum())
            note = f"{own.name}: {len(parts):,} of {total:,} tiles, {counted:,} cells"
            watch.count(len(parts))
            yield Progress(len(parts), total, note, partial)
        watch.record(str(chosen.torch))
        finds = _on_slide(merge_seams(parts, corners), downsample, area)
        of_tissue = yield from _tissue_px(own, area, tissue)
        mm2, tissue_mm2 = (px * resolution[0] * resolution[1] / 1e6 for px in (area.px, of_tissue))
        told = (own.name, own.fingerprint, model, spec.classes, finds, spec.threshold, mm2)
        least = least_score(network, spec)
        verdict = known if isinstance(known, Verdict) else sample.verdict(known)
        return Detection(*told, least, own.damaged, tissue_mm2, resolution, verdict, remark, own.origin)


def _statistics(model: str, network: nn.Module) -> Familiarity | Verdict:
    """Statistics of what a model was trained on; a verdict where there are none to compare with.

    Raises
    ------
    ModelError
        If they are not of what it reads.
    """
    from napari_zoommil.cells.compared import PATCH_PX

    if not any(True for _ in network.parameters()):
        return NO_TRAINING
    known = familiarity_of(model, "cells")
    if known is None:
        return UNKNOWN
    require_fit(known, model, 1, PATCH_PX, "")
    return known


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

    if not len(regions) and tissue is not None:
        area: Area = OnTissue(tissue, slide.shape)
    else:
        area = Regions(regions or [Box(0, 0, *slide.shape)], slide.shape)
    return len(tile_corners(slide.shape, _downsample(slide, mpp), area))


def _downsample(slide: Slide, mpp: float) -> tuple[float, float]:
    resolution = slide.resolution()
    return mpp / resolution[0], mpp / resolution[1]


def _area(slide: Slide, regions: Sequence[Region], tissue: Tissue | None) -> Job[Area]:
    """Where cells are looked for: regions, or tissue where there are none."""
    from napari_zoommil.cells.tiling import OnTissue, Regions

    if len(regions):
        area_on(slide, regions)
        return Regions(regions, slide.shape)
    if tissue is None:
        tissue = yield from find_tissue(slide)
    if not tissue.mask.any():
        raise no_tissue(slide)
    return OnTissue(tissue, slide.shape)


def _tissue_px(slide: Slide, area: Area, tissue: Tissue | None) -> Job[float]:
    """Extent of the tissue in an area, level-0 px squared; found last, because cells are waited for."""
    from napari_zoommil.cells.tiling import Regions

    if not isinstance(area, Regions):
        return area.px
    if tissue is None:
        tissue = yield from find_tissue(slide)
    return area.tissue_px(tissue)


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
