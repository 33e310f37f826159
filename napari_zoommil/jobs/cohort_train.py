"""A training on a cohort as the window starts it: where its files go, its curves, and what came of it."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.trace import Follow
from napari_zoommil.jobs.train import Training, train
from napari_zoommil.jobs.train_held_out import REPORT
from napari_zoommil.model_folder import WEIGHTS
from napari_zoommil.resources import cache_folder
from napari_zoommil.training.run import CHECKPOINT, is_trained, read_curves


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, and where its files go.

    Attributes
    ----------
    cohort : Path
        The table.
    model, store, out
        Of :func:`napari_zoommil.jobs.train`.
    how : dict
        Its other arguments.
    """

    cohort: Path
    model: str
    store: Path
    out: Path
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def can_be_resumed(self) -> bool:
        """Whether it was cut off after an epoch."""
        return (self.out / CHECKPOINT).exists() and not is_trained(self.out)


def train_with_curves(request: TrainingRequest, resume: bool = False) -> Job[Training]:
    """Train a model.

    Yields
    ------
    Progress
        ``partial`` holds the :class:`~napari_zoommil.jobs.trace.Trace` so far.

    Raises
    ------
    ZoomMILError
        See :func:`napari_zoommil.jobs.train`.
    """
    follow = Follow(request.out, read_curves(request.out) if resume else ())
    job = train(
        request.cohort, request.model, store=request.store, out=request.out, resume=resume, **request.how
    )
    with closing(job):
        while True:
            try:
                told = next(job)
            except StopIteration as end:
                result: Training = end.value
                return result
            yield from follow.told(told)


def _folder_of(cohort: Path) -> Path:
    """Where the files of trainings on a table go."""
    can_write = os.access(cohort.parent, os.W_OK)
    return cohort.parent if can_write else cache_folder() / "cohorts" / cohort.stem


def models_beside(cohort: Path) -> tuple[Path, ...]:
    """Models that were trained on a table and lie where :func:`places_beside` puts them, the latest first."""
    found = [one for one in (_folder_of(cohort) / "models").glob("*") if (one / WEIGHTS).is_file()]
    return tuple(sorted(found, key=lambda one: -(one / WEIGHTS).stat().st_mtime))


def places_beside(cohort: Path, model: str, now: datetime | None = None) -> tuple[Path, Path]:
    """Folders of features and of a new model: beside the table, or in the cache where that is read-only."""
    folder = _folder_of(cohort)
    name = f"{model} {now or datetime.now():%Y-%m-%d}"
    models, number = folder / "models", 1
    out = models / name
    while out.exists():
        number += 1
        out = models / f"{name} {number}"
    return folder / "features", out


@dataclass(frozen=True)
class HeldOut:
    """A metric on held-out slides.

    Attributes
    ----------
    split, metric : str
    value : float
    low, high : float or None
        95 % interval over patients; None where there are too few.
    slides, patients : int
        On which it was measured.
    """

    split: str
    metric: str
    value: float
    low: float | None
    high: float | None
    slides: int
    patients: int

    @property
    def text(self) -> str:
        """``0.83 (0.61 to 0.97)``."""
        interval = "" if self.low is None or self.high is None else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.value:.3f}{interval}"


def held_out_of(folder: Path) -> tuple[HeldOut, ...]:
    """The metrics per slide of a trained model's folder; none if they cannot be read."""
    try:
        content = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return tuple(
            HeldOut(
                split, name, float(one["value"]), one.get("low"), one.get("high"),
                int(told["per_slide"]["count"]), int(told["per_slide"]["patients"]),
            )
            for split, told in content.items()
            for name, one in told["per_slide"]["metrics"].items()
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
