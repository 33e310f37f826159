"""What a training would train on, found out beside the window: points, windows, settings, device. No Qt."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from napari_zoommil.annotations import CellClass, Points, annotations_path
from napari_zoommil.annotations.files import Stamp, stamp_of
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.libraries import load_triton_apart
from napari_zoommil.viewer.training_runs import TrainingRun, kept, undecided


@dataclass(frozen=True)
class TrainingSet:
    """What there is to train on, and how it would be trained.

    Attributes
    ----------
    path : Path
        The annotations, as they were at ``stamp``.
    stamp : Stamp or None
    counts : tuple of (CellClass, int)
        Classes that have points, with how many.
    complete : int
        Regions in which every cell is annotated.
    runs : tuple of TrainingRun
        Of the slide, that are cut off or not decided on.
    kept : tuple of Path
    windows, held_out : int or None
        None as long as it is not known.
    epochs, learning_rate
        Of the preset.
    device : str
        Where it would run, and why.
    problem : str
        What must be mended first.
    """

    path: Path
    stamp: Stamp | None
    counts: tuple[tuple[CellClass, int], ...] = ()
    complete: int = 0
    runs: tuple[TrainingRun, ...] = ()
    kept: tuple[Path, ...] = ()
    windows: int | None = None
    held_out: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    device: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _Needs:
    """What a model and a preset ask of windows."""

    mpp: float
    size: int
    epochs: int
    learning_rate: float


def look(slide: Slide, model: str, preset: str, device: str) -> Iterator[TrainingSet]:
    """First what the annotations tell at once, then what is known with the model at hand.

    The second may take seconds, for it loads what a training needs; the press is the quicker for it.
    """
    path = annotations_path(slide)
    stamp = stamp_of(path)
    found = TrainingSet(path, stamp, runs=undecided(slide), kept=kept(slide))
    points = Points()
    try:
        if stamp is not None:
            points = Points.read(path)
    except ZoomMILError as error:
        yield replace(found, problem=str(error))
        return
    counts = tuple((one, points.counts[one.name]) for one in points.classes if points.counts[one.name])
    found = replace(found, counts=counts, complete=len(points.complete))
    yield found
    if not model:
        return
    try:
        yield _with_model(found, points, slide, model, preset, device)
    except ZoomMILError as error:
        yield replace(found, problem=str(error))


def _with_model(
    found: TrainingSet, points: Points, slide: Slide, model: str, preset: str, device: str
) -> TrainingSet:
    load_triton_apart()
    from napari_zoommil.cells.windows import count_windows
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.jobs.finetune import HELD_OUT, LEAST_WINDOWS

    chosen = choose_device(device)
    needs = _needs(model, preset)
    classes = tuple(one for one, _ in found.counts)
    windows = count_windows(points, classes, slide.shape, slide.resolution(), needs.mpp, needs.size)
    return replace(
        found,
        windows=windows,
        held_out=round(HELD_OUT * windows) if windows >= LEAST_WINDOWS else 0,
        epochs=needs.epochs,
        learning_rate=needs.learning_rate,
        device=f"{chosen.torch} ({chosen.reason})",
    )


@lru_cache(maxsize=8)
def _needs(model: str, preset: str) -> _Needs:
    from napari_zoommil.cells.model import fitting, load_cell_model
    from napari_zoommil.jobs.finetune import WINDOW
    from napari_zoommil.training.cell_presets import recipe

    network, spec = load_cell_model(model)
    settings = recipe(preset)
    size = fitting(network, math.ceil(fitting(network, settings.crop) * WINDOW))
    return _Needs(spec.mpp, size, settings.epochs, settings.learning_rate)
