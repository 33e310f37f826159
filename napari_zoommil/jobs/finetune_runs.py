"""Where the trainings of a slide lie, and what becomes of them: files and nothing else.

Beside the annotations of ``slide.svs`` lies ``slide.models``: in ``runs`` one folder for each training that
is cut off or not decided on, named by when it began; everything else in it is a model that was kept.
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
from napari_zoommil.annotations.autosave import SUFFIX, places_to_write
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
"""What a run of a slide has beside what every run has (:mod:`napari_zoommil.training.run`)."""
BEGAN = "%Y-%m-%d %H.%M.%S"
NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


@dataclass(frozen=True)
class Request:
    """What a training was asked to do: with this and its points it can be gone on with.

    Attributes
    ----------
    model : str
        What it begins with; in use until the new one is kept.
    loss : str, optional
        The preset's by default.
    preset : str
    epochs : int, optional
    learning_rate : float, optional
    seed : int
    label : str, optional
        What the slide is, of the classes of a MIL model, where its points do not tell.
    stain_augmentation : bool
        Of a cell model: the slide is stained with haematoxylin and eosin.
    kind : {"cells", "mil"}
        Of the model; a MIL model is not gone on with, for it is trained in seconds.
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
    """A training that is not decided on.

    Attributes
    ----------
    folder : Path
    request : Request
    history : tuple of dict
        Its curves.
    epochs : int
        Of the whole training; 0 if it was cut off before that was known.
    trained : bool
        Whether it came to its end.
    metrics : dict of str to float
        Of the trained model, as :class:`~napari_zoommil.jobs.finetune.FineTuning` has them.
    """

    folder: Path
    request: Request
    history: CurveLines = ()
    epochs: int = 0
    trained: bool = False
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def began(self) -> str:
        """When, as its folder says: ``2026-11-21 14.05``."""
        return self.folder.name[:16]


def models_folder(slide: Slide) -> Path:
    """Where trainings and kept models of a slide lie: beside its annotations.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    return _models_beside(annotations_path(slide))


def _models_beside(annotations: Path) -> Path:
    return annotations.with_name(f"{annotations.name.removesuffix(SUFFIX)}.models")


def begin(slide: Slide, request: Request, now: datetime | None = None) -> Path:
    """A new folder with the request and the annotations as they are on disk.

    Raises
    ------
    FileError
        If there are none, or the folder cannot be made.
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
    """Trainings of a slide that were cut off or not decided on, the latest first; not those under way."""
    folders = sorted((models_folder(slide) / RUNS).glob("*/"), reverse=True)
    found = (read_run(folder) for folder in folders if not in_use(folder))
    return tuple(run for run in found if run is not None)


def read_run(folder: Path) -> TrainingRun | None:
    """What a folder tells of its training; None if it holds none."""
    try:
        request = parsed(Request, json.loads((folder / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    told = provenance_of(folder)
    epochs = int(told.get("settings", {}).get("epochs", 0))
    trained, metrics = is_trained(folder), told.get("metrics", {})
    return TrainingRun(folder, request, read_curves(folder), epochs, trained, metrics)


def kept(slide: Slide) -> tuple[Path, ...]:
    """Models of a slide that were kept, the latest first; none where the slide can no longer be read."""
    try:
        found = [one.parent for one in models_folder(slide).glob(f"*/{CONFIG}")]
    except AnnotationError:
        return ()
    return tuple(sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True))


def keep(folder: Path, name: str) -> Path:
    """Make a trained run a kept model of this name; returns its folder.

    Raises
    ------
    ModelError
        If the name cannot be one, is taken, or the folder cannot be moved.
    """
    name = NOT_IN_NAMES.sub("-", name).strip(" .")
    if not name or name == RUNS:
        raise ModelError("a model needs a name; give it one and keep it then")
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
    """Delete a run, and the folders that held nothing else.

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
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def discard_if_empty(folder: Path) -> None:
    """Delete a run that has nothing to go on from: it ended before its first epoch did."""
    if folder.exists() and not has_progress(folder):
        discard(folder)
