"""A training on a cohort as the window starts it: where its files go, its curves, and what came of it."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_zoommil.files import make_folder, temporary_folder
from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.trace import Follow, curves_of
from napari_zoommil.jobs.train import train
from napari_zoommil.jobs.train_choices import SINGLE, Choices, write_plan
from napari_zoommil.jobs.train_result import Training
from napari_zoommil.model_folder import WEIGHTS
from napari_zoommil.resources import cache_folder
from napari_zoommil.training.run import PLAN, REPORT, has_progress, is_trained

PLANNED = (*SINGLE, "options", "settings", "epochs", "learning_rate")
"""Arguments of ``train`` that are choices of a plan."""


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, and where its files go.

    Attributes
    ----------
    cohort : Path
        The table.
    model : str or None
        None if a plan names it.
    store, out : Path
    how : dict
        Other arguments of :func:`napari_zoommil.jobs.train`.
    """

    cohort: Path
    model: str | None
    store: Path
    out: Path
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def can_be_resumed(self) -> bool:
        """Whether it was cut off after an epoch."""
        return has_progress(self.out) and not is_trained(self.out)

    def following(self, choices: Choices) -> TrainingRequest:
        """The same by a plan, which is written into the folder of the new model.

        Raises
        ------
        FileError
            If it cannot be written.
        """
        make_folder(self.out)
        write_plan(self.out, choices)
        kept = {name: value for name, value in self.how.items() if name not in PLANNED}
        return replace(self, model=None, how=kept | {"plan": self.out / PLAN})


def plan_of(request: TrainingRequest) -> Job[Choices]:
    """What would be chosen, and why; nothing is trained or left behind.

    Raises
    ------
    ZoomMILError
        See :func:`napari_zoommil.jobs.train`.
    """
    with temporary_folder() as folder:
        out = folder / "plan"
        training = yield from train(
            request.cohort, request.model, store=request.store, out=out, only_plan=True, **request.how
        )
    return training.plan


def train_with_curves(request: TrainingRequest, resume: bool = False) -> Job[Training]:
    """Train a model.

    Yields
    ------
    Progress
        ``partial`` holds the plan, a tuple of choices, or the :class:`~napari_zoommil.jobs.trace.Trace`.

    Raises
    ------
    ZoomMILError
        See :func:`napari_zoommil.jobs.train`.
    """
    follow = Follow(request.out, curves_of(request.out) if resume else ())
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
            yield from (told,) if isinstance(told.partial, tuple) else follow.told(told)


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
    return _folder_of(cohort) / "features", place_beside(cohort, "models", model, now)


def place_beside(cohort: Path, kind: str, name: str, now: datetime | None = None) -> Path:
    """A folder that is not there yet, in one for all of its kind."""
    dated, number = f"{name} {now or datetime.now():%Y-%m-%d}", 1
    folder = _folder_of(cohort) / kind
    out = folder / dated
    while out.exists():
        number += 1
        out = folder / f"{dated} {number}"
    return out


@dataclass(frozen=True)
class HeldOutMetric:
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


def held_out_metrics(folder: Path) -> tuple[HeldOutMetric, ...]:
    """The metrics per slide of a trained model's folder; none if they cannot be read."""
    try:
        content = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return tuple(
            HeldOutMetric(
                split, name, float(one["value"]), one.get("low"), one.get("high"),
                int(told["per_slide"]["count"]), int(told["per_slide"]["patients"]),
            )
            for split, told in content.items()
            for name, one in told["per_slide"]["metrics"].items()
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
