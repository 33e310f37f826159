"""What is settled before a training: its plan, and that cohort, slides and options allow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import train_reasons as reasons
from napari_zoommil.jobs.cohort_bags import Reading
from napari_zoommil.jobs.cohort_features import CohortFeatures
from napari_zoommil.jobs.progress import Job
from napari_zoommil.jobs.train_choices import Asked, Choices, with_settings
from napari_zoommil.jobs.train_plan import Plan
from napari_zoommil.jobs.train_slides import fitting, read_headers
from napari_zoommil.jobs.train_start import DEFAULT_MODEL, Chosen, Start
from napari_zoommil.models.registry import DEFAULT_RECIPE, Entry, Recipe, entry
from napari_zoommil.models.task import Classification, Regression, Task, learns_numbers, measurements
from napari_zoommil.slides.tissue_published import detector_of
from napari_zoommil.training.flags import TrainerFlags

if TYPE_CHECKING:
    from napari_zoommil.training.mil.cohort import Cohort, Columns
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide
    from napari_zoommil.training.mil.splits import Division

OF_PATCHES = ("encoder", "patch_size", "min_tissue", "tissue_detector")
"""Choices that models of images do not have."""

OF_START = "of {}, which the training starts from"


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
    division : Division
        How it was divided.
    choices : tuple of Choice
    files : CohortFeatures, optional
        Where features are read from files.
    """

    plan: Plan
    reading: Reading
    encoder: str
    cohort: Cohort
    divided: tuple[LabelledSlide, ...]
    division: Division
    choices: Choices
    files: CohortFeatures | None = None

    @property
    def folds(self) -> int | None:
        """Number of folds of a cross-validation."""
        return self.division.folds

    @property
    def source_name(self) -> str:
        """The encoder as the folder of the model will state it; empty of a model that reads pixels."""
        from napari_zoommil.encoders.trust import name_in_folder

        if entry(self.plan.model).takes == "pixels":
            return ""
        return self.encoder if self.files is not None else name_in_folder(self.encoder)

    def of_fold(self, entries: Sequence[LabelledSlide]) -> Plan:
        """The plan for the slides of a fold: numbers are scaled by those that it is trained on, if the head
        is new."""
        start = self.plan.start
        if start is not None and start.spec.task == self.plan.task:
            return self.plan
        return replace(self.plan, task=rescaled(self.plan.task, entries))


def prepare(
    cohort: Path, columns: Columns, asked: Asked, features: Sequence[Path],
    flags: TrainerFlags, seed: int, mpp: float | None, icc: bool,
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
    from napari_zoommil.training.mil.cohort import refuse
    from napari_zoommil.training.mil.splits import Division, fold_count

    begun = None if asked.start is None else Start.read(asked.start)
    known = entry(asked.model or (DEFAULT_MODEL if begun is None else begun.spec.architecture))
    name = asked.recipe or DEFAULT_RECIPE
    recipe = with_settings(known.recipe(name), asked.settings)
    known.options({**recipe.options, **asked.options})
    if min(recipe.shares[:2]) <= 0:
        raise ModelError(f"shares = {recipe.shares}: some of the slides have to train, and some to validate")
    refuse_of_patches(asked, known)
    refuse_of_images(recipe, known)
    recipe = replace(recipe, accumulate=flags.accumulate or recipe.accumulate)
    files = CohortFeatures(tuple(features), asked.encoder, mpp, icc, asked.patch_size)
    found, faults = _read(cohort, columns, asked, files)
    used = asked
    if files.used(found.entries):
        refuse(cohort, faults)
        common = files.common(found.entries, asked.model, asked.magnifications, begun)
        used = replace(asked, **asdict(common), from_files=True)
    chosen = Chosen.new(used) if begun is None else begun.chosen(used)
    built = {**recipe.options, **chosen.options}
    wanted = scales = chosen.magnifications or known.magnifications(recipe)
    known.check_scales(wanted)
    coarsest = None
    if not used.from_files:
        headers = yield from read_headers(found.entries, mpp)
        coarsest = headers.coarsest
        scales = wanted if chosen.magnifications else fitting(wanted, headers, known.takes)
        refuse(cohort, (*faults, *headers.faults_at(scales[-1], known.takes)))
    count = fold_count(found, asked.folds)
    numbers = learns_numbers([one.label for one in found.entries], asked.task or "auto")
    division = Division(count, seed, recipe.shares, not numbers, recipe.fold_parts)
    refuse(cohort, division.faults(found))
    own = division.splits(found)[0]
    task = _task(found, own.entries, asked, begun)
    share = recipe.min_tissue if chosen.min_tissue is None else chosen.min_tissue
    detector = chosen.tissue_detector or recipe.tissue_detector
    detector_of(detector)
    patch_size = 0 if known.takes == "image" else chosen.patch_size
    variants = known.variants(built)
    if used.from_files and variants > 1:
        raise ModelError(
            f"{chosen.model} with these options is trained on {variants} rotations and flips of each patch, "
            "but feature files hold patches as they are; choose views=1, or leave --features out"
        )
    reading = Reading(tuple(map(float, scales)), patch_size, share, detector, mpp, icc, variants)
    plan = Plan(chosen.model, built, recipe, name, seed, task, flags, begun)
    check_plan(plan, scales)
    source = (
        "of the feature files" if used.from_files else "" if begun is None else OF_START.format(begun.name)
    )
    choices = (
        *reasons.of_reading(
            asked,
            chosen,
            reading,
            name,
            source,
            coarsest,
            tuple(scales) != tuple(wanted),
            known.takes,
            files.unstated(found.entries) if used.from_files else "",
        ),
        *reasons.of_cohort(asked, found, own.entries, count, task, recipe.shares),
        *reasons.of_options(asked, known, recipe, built, name),
        *reasons.of_settings(asked, recipe, name, task, own.entries, known.takes),
    )
    return Prepared(
        plan,
        reading,
        chosen.encoder,
        found,
        own.entries,
        division,
        choices,
        files if used.from_files else None,
    )


def refuse_of_patches(asked: Asked, known: Entry) -> None:
    """Refuse what only patches have for a model that reads images.

    Raises
    ------
    ModelError
    """
    given = [name for name in OF_PATCHES if getattr(asked, name) is not None]
    if known.takes == "image" and given:
        what = " and ".join(name.replace("_", " ") for name in given)
        raise ModelError(f"this model reads images and no patches; leave {what} out")


def refuse_of_images(recipe: Recipe, known: Entry) -> None:
    """Refuse to change images at random for a model that reads none.

    Raises
    ------
    ModelError
    """
    if known.takes != "image" and recipe.augmentation:
        raise ModelError(
            f"this model reads patches and no images; leave {' and '.join(recipe.augmentation)} out"
        )


def _read(
    path: Path, columns: Columns, asked: Asked, files: CohortFeatures
) -> tuple[Cohort, tuple[str, ...]]:
    """The cohort, and all that is wrong with its table."""
    from napari_zoommil.training.mil.cohort import parse_cohort
    from napari_zoommil.training.mil.cohort_faults import of_task
    from napari_zoommil.training.mil.splits import fold_count

    cohort = parse_cohort(path, columns)
    in_folds = bool(fold_count(cohort, asked.folds))
    kind = asked.task or "auto"
    return cohort, (*cohort.faults(in_folds, files.fault), *of_task(cohort.entries, kind))


def _task(cohort: Cohort, divided: Sequence[LabelledSlide], asked: Asked, begun: Start | None) -> Task:
    """What the labels of a cohort say is to be learnt."""
    from napari_zoommil.training.mil.cohort import class_names

    labels = [one.label for one in cohort.entries]
    found: Task
    if learns_numbers(labels, asked.task or "auto"):
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
    known = {"val_loss", "val_bag_loss", *(f"val_{name}_loss" for name in recipe.loss_weights)}
    known |= {one.monitor for one in entry(plan.model).recipes.values() if one.monitor.endswith("loss")}
    if monitor not in known | {f"val_{name}" for name in plan.task.metrics()}:
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
