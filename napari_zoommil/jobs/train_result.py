"""What a training comes to: its model written with all that its folder tells, or one that is there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs.cohort_bags import PIXELS, Source
from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.train_choices import Choices, read_choices
from napari_zoommil.jobs.train_familiarity import training_statistics
from napari_zoommil.jobs.train_fit import Data, run_of
from napari_zoommil.jobs.train_held_out import HeldOut, reports, table, write_held_out
from napari_zoommil.jobs.train_plan import card, specification
from napari_zoommil.jobs.train_prepare import Prepared
from napari_zoommil.model_folder import keep_familiarity
from napari_zoommil.models.task import Classification, Task
from napari_zoommil.training.run import FOLDS, PLAN, RunFolder, provenance_of

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

RANKED = ("AUROC", "spearman")
"""Metrics of all held-out slides together, beside those of a training."""

SHORT = {"weighted F1": "f1"}
"""Names of metrics among those of a training, where they differ from those of the report."""


@dataclass(frozen=True)
class Training:
    """A trained model and how it did.

    Attributes
    ----------
    model : Path
    task : Task
    metrics : dict of str to float
        ``val_*`` of the kept epoch, and ``test_*`` where the cohort has test slides; of a cross-validation
        ``folds_*`` of the slides of all folds, each told by the model that was trained without it. None of
        a plan alone.
    plan : tuple of Choice
        What was chosen, with the reasons.
    trained_before : bool
        Whether it was finished, and nothing was left to do.
    """

    model: Path
    task: Task
    metrics: dict[str, float]
    plan: Choices
    trained_before: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a classification; none of a regression."""
        return self.task.names if isinstance(self.task, Classification) else ()


def trained_before_in(prepared: Prepared, out: Path) -> Training:
    """The result of a training that is finished; nothing of it is done again.

    Raises
    ------
    ModelError
        If it is of other data, settings or model.
    """
    from napari_zoommil.models.spec import read_spec

    known = provenance_of(out)
    # Hash and width of an encoder are not asked for again: that would load it.
    source = Source(**asdict(PIXELS) | known.get("source", {}) | {"encoder": prepared.source_name})
    entries = without_splits(prepared.cohort.entries) if prepared.folds else prepared.divided
    run = run_of(prepared.plan, Data({}, prepared.reading, source), entries, out, prepared.folds)
    metrics = run.finished()
    choices = read_choices(out / PLAN) if (out / PLAN).exists() else prepared.choices
    return Training(out, read_spec(out).task, metrics, choices, trained_before=True)


def without_splits(entries: Sequence[LabelledSlide]) -> list[LabelledSlide]:
    """As of a cross-validation, in which all but test slides train."""
    return [one if one.split == "test" else replace(one, split="train") for one in entries]


@dataclass(frozen=True, eq=False)
class Made:
    """A trained model, the slides that it was made of by split, and what held-out slides show."""

    model: MILModel
    entries: Sequence[LabelledSlide]
    held_out: Sequence[HeldOut]
    metrics: dict[str, float]


def finish(made: Made, prepared: Prepared, data: Data, run: RunFolder, device: Device) -> Job[Training]:
    """Write a trained model with all that its folder tells."""
    from napari_zoommil.models.spec import save_model

    plan, mil = prepared.plan, made.model
    report = reports(mil.task, made.held_out, plan.seed)
    metrics = made.metrics | _of_folds(report, mil.task)
    spec = specification(mil, plan, data.reading, data.source, made.entries, metrics, prepared.folds)
    save_model(run.folder, mil, spec, card(spec, table(report)))
    write_held_out(run.folder, report, made.held_out)
    try:
        statistics = training_statistics(mil, made.entries, data.bags, data.reading, data.source, device)
        if (known := (yield from statistics)) is not None:
            keep_familiarity(run.folder, known)
    except ZoomMILError as error:  # the model is there, and says "unknown"
        warnings.warn(f"no statistics of the training could be kept: {error}", stacklevel=2)
    run.finish(metrics)
    return Training(run.folder, mil.task, metrics, prepared.choices)


def _of_folds(report: Mapping[str, Any], task: Task) -> dict[str, float]:
    """Metrics of the slides of all folds together, of their subsets, and the means over the folds."""
    folds = report.get(FOLDS)
    if folds is None:
        return {}
    means = {name: {"value": one["mean"]} for name, one in folds["over_folds"].items()}
    parts = {"": folds["per_slide"]["metrics"], "mean_": means}
    parts |= {f"{name}_": one["metrics"] for name, one in folds.get("subsets", {}).items()}
    shown = (*task.metrics(), *RANKED)
    return {
        f"{FOLDS}_{part}{SHORT.get(name, name)}": one["value"]
        for part, metrics in parts.items()
        for name, one in metrics.items()
        if SHORT.get(name, name) in shown
    }
