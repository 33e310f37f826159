"""Run folders and kept models of a slide.

Next to the annotations of ``slide.svs`` is the folder ``slide.models``. Its subfolder ``runs`` has one
folder per interrupted or undecided run, named by its start time; all other subfolders are kept models.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval

from napari_zoommil.annotations import annotations_path
from napari_zoommil.annotations.paths import SUFFIX, places_to_write
from napari_zoommil.configuration import parsed
from napari_zoommil.errors import AnnotationError, ModelError
from napari_zoommil.files import make_folder, read_file, write_file, write_json
from napari_zoommil.model_folder import CONFIG, Kind
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import (
    CurveLines,
    has_progress,
    in_use,
    is_trained,
    provenance_of,
    read_curves,
)

RUNS = "runs"
REQUEST, POINTS = "request.json", "points.geojson"
"""Files of a slide's run in addition to those of every run (:mod:`napari_zoommil.training.run`)."""
BEGAN = "%Y-%m-%d %H.%M.%S"
NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


@dataclass(frozen=True)
class Request:
    """The parameters of a fine-tuning; with them and its points it can be resumed.

    Attributes
    ----------
    model : str
        The initial model.
    loss : str, optional
        The preset's by default.
    preset : str
    epochs : int, optional
    learning_rate : float, optional
    seed : int
    label : str, optional
        For a MIL model: the class of the slide, if its points do not determine it.
    stain_augmentation : bool
        For a cell model: the slide is stained with haematoxylin and eosin.
    kind : {"cells", "mil"}
        Kind of the model. Runs of MIL models are not resumed, because they take only seconds.
    """

    model: str
    loss: str | None = None
    preset: str = "interactive"
    epochs: Annotated[int, Ge(1)] | None = None
    learning_rate: Annotated[float, Interval(gt=0, lt=1)] | None = None
    seed: int = 0
    label: str | None = None
    kind: Kind = "cells"
    stain_augmentation: bool = True


@dataclass(frozen=True)
class TrainingRun:
    """A run that the user has neither kept nor discarded.

    Attributes
    ----------
    folder : Path
    request : Request
    history : tuple of dict
        Its curves.
    epochs : int
        Epochs of the whole training; 0 if it was interrupted before that was known.
    trained : bool
        Whether it is finished.
    metrics : dict of str to float
        Metrics of the trained model, as in :class:`~napari_zoommil.jobs.finetune.FineTuning`.
    """

    folder: Path
    request: Request
    history: CurveLines = ()
    epochs: int = 0
    trained: bool = False
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def began(self) -> str:
        """Start time, from the name of its folder: ``2026-11-21 14.05``."""
        return self.folder.name[:16]


def models_folder(slide: Slide) -> Path:
    """The folder of runs and kept models of a slide, next to its annotations.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    return _models_beside(annotations_path(slide))


def _models_beside(annotations: Path) -> Path:
    return annotations.with_name(f"{annotations.name.removesuffix(SUFFIX)}.models")


def begin(slide: Slide, request: Request, now: datetime | None = None) -> Path:
    """A new run folder with the request and a copy of the annotation file.

    Raises
    ------
    FileError
        If there are no annotations, or the folder cannot be created.
    """
    path, current = places_to_write(slide)
    content = read_file(current)
    folder = _free(_models_beside(path) / RUNS / (now or datetime.now()).strftime(BEGAN))
    make_folder(folder, exist_ok=False)
    write_file(folder / POINTS, content)
    write_json(folder / REQUEST, asdict(request))
    return folder


def _free(path: Path) -> Path:
    number, tried = 2, path
    while tried.exists():
        tried, number = path.with_name(f"{path.name} {number}"), number + 1
    return tried


def undecided(slide: Slide) -> tuple[TrainingRun, ...]:
    """Interrupted and undecided runs of a slide, latest first, without those that are running."""
    folders = sorted((models_folder(slide) / RUNS).glob("*/"), reverse=True)
    found = (read_run(folder) for folder in folders if not in_use(folder))
    return tuple(run for run in found if run is not None)


def read_run(folder: Path) -> TrainingRun | None:
    """Read a run from its folder; None if there is none."""
    try:
        request = parsed(Request, json.loads((folder / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    told = provenance_of(folder)
    epochs = int(told.get("settings", {}).get("epochs", 0))
    trained, metrics = is_trained(folder), told.get("metrics", {})
    return TrainingRun(folder, request, read_curves(folder), epochs, trained, metrics)


def kept(slide: Slide) -> tuple[Path, ...]:
    """Kept models of a slide, latest first; empty if the slide can no longer be read."""
    try:
        found = [one.parent for one in models_folder(slide).glob(f"*/{CONFIG}")]
    except AnnotationError:
        return ()
    return tuple(sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True))


def keep(folder: Path, name: str) -> Path:
    """Turn a trained run into a kept model with this name; returns its folder.

    Raises
    ------
    ModelError
        If the name is invalid or taken, or the folder cannot be moved.
    """
    name = NOT_IN_NAMES.sub("-", name).strip(" .")
    if not name or name == RUNS:
        raise ModelError("a model needs a name; enter one first")
    target = folder.parent.parent / name
    if target.exists():
        raise ModelError(f"there is a model {name} already; choose another name")
    try:
        os.rename(folder, target)
    except OSError as error:
        raise ModelError(f"{folder} cannot be renamed to {name} ({error.strerror})") from error
    _tidy(folder.parent)
    return target


def discard(folder: Path) -> None:
    """Delete a run, and parent folders that are empty then.

    Raises
    ------
    ModelError
        If it cannot be deleted.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ModelError(f"{folder} cannot be deleted ({error.strerror}); delete it by hand") from error
    _tidy(folder.parent)


def _tidy(runs: Path) -> None:
    for folder in (runs, runs.parent):
        with suppress(OSError):  # the folder is not empty
            folder.rmdir()


def discard_if_empty(folder: Path) -> None:
    """Delete a run that cannot be resumed, because it has no finished epoch."""
    if folder.exists() and not has_progress(folder):
        discard(folder)
