"""What is settled before a training: its plan, and that cohort, slides and options allow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import train_reasons as reasons
from napari_zoommil.jobs.cohort_bags import Reading
from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.train_choices import Asked, Choices, with_settings
from napari_zoommil.jobs.train_plan import Plan
from napari_zoommil.jobs.train_slides import fitting, read_headers
from napari_zoommil.jobs.train_start import Chosen, Start
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression, Task, are_measurements, measurements
from napari_zoommil.training.flags import TrainerFlags

if TYPE_CHECKING:
    from napari_zoommil.training.mil.cohort import Cohort, Columns
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

DEFAULT_RECIPE = "default"


@dataclass(frozen=True)
class Prepared:
    """A training that can begin.

    Attributes
    ----------
    plan : Plan
    reading : Reading
    encoder : str
    cohort : Cohort
        As the table states it.
    divided : tuple of LabelledSlide
        With a split each; of a cross-validation those of its first fold.
    folds : int, optional
        Number of folds of a cross-validation.
    choices : tuple of Choice
    """

    plan: Plan
    reading: Reading
    encoder: str
    cohort: Cohort
    divided: tuple[LabelledSlide, ...]
    folds: int | None
    choices: Choices

    def of_fold(self, entries: Sequence[LabelledSlide]) -> Plan:
        """The plan for the slides of a fold: numbers are scaled by those that it is trained on."""
        return replace(self.plan, task=rescaled(self.plan.task, entries))


def prepare(
    cohort: Path, columns: Columns, asked: Asked, start: str | None, flags: TrainerFlags, seed: int,
    mpp: float | None, icc: bool,
) -> Job[Prepared]:  # fmt: skip
    """Settle a training.

    Raises
    ------
    CohortError
        With all that is wrong with the cohort and its slides.
    ModelError
        If the choices do not fit together.
    EncoderError, ConsentError
        If the encoder is not that of the model to start from, or the user has to name it.
    """
    begun = None if start is None else Start.read(start)
    chosen = Chosen.new(asked) if begun is None else begun.chosen(asked)
    known = entry(chosen.model)
    name = asked.recipe or DEFAULT_RECIPE
    recipe = with_settings(known.recipe(name), asked.settings)
    recipe = replace(recipe, accumulate=flags.accumulate or recipe.accumulate)
    built = {**recipe.options, **chosen.options}
    known.options(built)
    wanted = chosen.magnifications or known.magnifications(recipe)
    known.check_scales(wanted)
    found, divided, folds, coarsest, scales = yield from _read(
        cohort, columns, asked, seed, mpp, wanted, chosen.magnifications is None
    )
    task = _task(found, divided, asked, begun)
    plan = Plan(chosen.model, built, recipe, name, seed, task, flags, begun)
    check_plan(plan, scales)
    choices = (
        *reasons.of_reading(asked, chosen, scales, name, start, coarsest, scales != tuple(wanted)),
        *reasons.of_cohort(asked, found, divided, folds, task),
        *reasons.of_options(asked, known, recipe, built, name),
        *reasons.of_settings(asked, recipe, name, task, divided),
    )
    reading = Reading(tuple(map(float, scales)), chosen.patch_size, chosen.min_tissue, mpp, icc)
    return Prepared(plan, reading, chosen.encoder, found, divided, folds, choices)


def _read(
    path: Path,
    columns: Columns,
    asked: Asked,
    seed: int,
    mpp: float | None,
    wanted: tuple[float, ...],
    may_lower: bool,
) -> Job[tuple[Cohort, tuple[LabelledSlide, ...], int | None, float | None, tuple[float, ...]]]:
    """The cohort, its division, its coarsest pixel size, and the magnifications that it has.

    Raises
    ------
    CohortError
        With all faults of the table and of the slides' headers.
    """
    from napari_zoommil.training.mil.cohort import parse_cohort, refuse
    from napari_zoommil.training.mil.cohort_faults import of_task
    from napari_zoommil.training.mil.splits import divided, faults_of_division, fold_count, folds_of

    cohort = parse_cohort(path, columns)
    count = fold_count(cohort, asked.folds)
    faults = [*cohort.faults(bool(count)), *of_task(cohort.entries, asked.task or "auto", bool(count))]
    headers = yield from read_headers(cohort.entries, mpp)
    scales = fitting(wanted, headers) if may_lower else wanted
    faults += [*headers.faults, *headers.too_coarse(scales[-1])]
    refuse(path, faults)
    refuse(path, faults_of_division(cohort, count, seed))
    own = folds_of(cohort, count, seed)[0] if count else divided(cohort, seed)
    return cohort, tuple(own.entries), count, headers.coarsest, scales


def _task(cohort: Cohort, divided: Sequence[LabelledSlide], asked: Asked, begun: Start | None) -> Task:
    """What the labels of a cohort say is to be learnt."""
    from napari_zoommil.training.mil.cohort import class_names

    labels = [one.label for one in cohort.entries]
    kind = asked.task or "auto"
    found: Task
    if kind == "regression" or (kind == "auto" and are_measurements(labels)):
        found = rescaled(Regression(asked.unit or ""), divided)
    else:
        found = Classification(class_names(cohort.entries))
    return found if begun is None else begun.task(found)


def rescaled(task: Task, entries: Sequence[LabelledSlide]) -> Task:
    """A regression with the mean and spread of its training labels; a classification as it is."""
    if isinstance(task, Classification):
        return task
    return Regression.fitted(measurements([one.label for one in entries if one.split == "train"]), task.unit)


def check_plan(plan: Plan, magnifications: Sequence[float]) -> None:
    """Refuse what cannot be trained, before embedding, which takes hours.

    Raises
    ------
    ModelError
        If options of the model or settings do not fit together, or the epoch is to be selected by a metric
        that the task does not have.
    """
    import torch

    from napari_zoommil.models import create
    from napari_zoommil.training.mil.module import optimizer_of

    recipe, monitor = plan.recipe, plan.recipe.monitor
    if not monitor.endswith("loss") and monitor.removeprefix("val_") not in plan.task.metrics():
        kind = "classification" if isinstance(plan.task, Classification) else "regression"
        raise ModelError(
            f"the recipe {plan.recipe_name!r} selects by {monitor}, which a {kind} does not have; choose "
            f"another recipe, or --set-recipe monitor=val_loss"
        )
    with torch.device("meta"):
        create(plan.model, 8, len(plan.task.names), magnifications, **plan.options)
    try:
        optimizer_of([torch.nn.Parameter(torch.zeros(1, 1))], recipe)
    except (
        TypeError,
        ValueError,
        AssertionError,
        AttributeError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        told: Any = str(error).strip() or type(error).__name__
        raise ModelError(f"the optimiser {recipe.optimizer!r} cannot be made: {told}") from error
