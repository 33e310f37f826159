"""``train``: a labelled cohort to a model folder; features are embedded first where they are missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_zoommil.errors import ModelError, ZoomMILError
from napari_zoommil.jobs.cohort_bags import PIXELS, Reading, Source, embedded_bags, pixel_bags
from napari_zoommil.jobs.cohort_features import CohortFeatures
from napari_zoommil.jobs.parameters import (
    DeviceName,
    EncoderToTrain,
    Epochs,
    Features,
    Icc,
    LearningRate,
    ModelFolder,
    Mpp,
    NamedStore,
    Overwrite,
    PatchSizeToTrain,
    Seed,
    TissueShareToTrain,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.train_familiarity import training_statistics
from napari_zoommil.jobs.train_held_out import answers_of, reports, table, write_held_out
from napari_zoommil.jobs.train_plan import Plan, card, provenance, specification
from napari_zoommil.jobs.train_start import Given, Start
from napari_zoommil.model_folder import keep_familiarity
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Regression, Task, are_measurements, measurements
from napari_zoommil.training.flags import ONE_DEVICE, TrainerFlags
from napari_zoommil.training.run import RunFolder, working_in

SHOWN = ("train_loss", "val_loss")
"""Metrics that a fit's progress names."""

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.familiarity import Familiarity
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.cohort import LabelledSlide
    from napari_zoommil.training.mil.module import Example


@dataclass(frozen=True)
class Training:
    """A trained model and how it did.

    Attributes
    ----------
    model : Path
    task : Task
    metrics : dict of str to float
        ``val_*`` of the kept epoch, and ``test_*`` where the cohort has test slides.
    """

    model: Path
    task: Task
    metrics: dict[str, float]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a classification; none of a regression."""
        return self.task.names if isinstance(self.task, Classification) else ()


@documented
def train(
    cohort: Path,
    model: str | None = None,
    *,
    store: NamedStore,
    out: ModelFolder,
    start: str | None = None,
    encoder: EncoderToTrain = None,
    features: Features = (),
    options: Mapping[str, Any] | None = None,
    recipe: str = "default",
    task: Literal["auto", "classification", "regression"] = "auto",
    unit: str = "",
    magnifications: tuple[float, ...] | None = None,
    patch_size: PatchSizeToTrain = None,
    min_tissue: TissueShareToTrain = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    seed: Seed = 0,
    mpp: Mpp = None,
    icc: Icc = False,
    device: DeviceName = "auto",
    flags: TrainerFlags = ONE_DEVICE,
    resume: bool = False,
    overwrite: Overwrite = False,
) -> Job[Training]:
    """Train a MIL model on slides with one label each.

    Features that are not in ``store`` are encoded first.

    Parameters
    ----------
    cohort : Path
        Table with the columns slide and label, and optionally split (train, val, test) and group.
    model : str, optional
        Architecture; the command ``models`` lists them with their options and recipes. Those that read pixels
        need no encoder. zoommil by default, or that of ``start``.
    start : str, optional
        Model (shipped, folder or hub name) whose weights the training starts from. Architecture, options,
        encoder, patch size and magnifications are its own; its head is new where the classes differ by name.
    options : dict, optional
        Options of the model, such as k=16.
    recipe : str
        Training settings that go with the model, by name.
    task : {"auto", "classification", "regression"}
        What labels are. By themselves they are measurements (regression) if all are numbers, and one has a
        fraction or there are more than 20 different ones; else they name classes.
    unit : str
        Of measurements, as users read it, such as cells/mm².
    magnifications : tuple of float, optional
        Rising by whole factors; the recipe's by default, or those of ``start``.
    flags : TrainerFlags
        Devices and precision; one device and single precision by default.
    resume : bool
        Go on with a training of this folder that was cut off, if there is one.

    Returns
    -------
    Training

    Raises
    ------
    CohortError
        If the table is malformed, contradicts itself, lacks training or validation slides, or its labels do
        not fit the task.
    ModelError
        If there is no such model, recipe or option, the magnifications do not fit the model, or ``out`` holds
        another training to go on with, a finished one, or anything else without ``overwrite``; or if what is
        given differs from the model to start from.
    EncoderError, ConsentError
        If the encoder is not that of the model to start from, or the user has to name it.
    JobError
        If this machine does not have the devices, or cannot train with these flags.
    FileError
        If ``out`` cannot be written to.
    """
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.training.mil.cohort import read_cohort

    computes_on = choose_device(device)
    flags.check(computes_on)
    given = Given(model, encoder, magnifications, patch_size, min_tissue, options or {})
    begun = None if start is None else Start.read(start)
    files = CohortFeatures(tuple(features), encoder, mpp, icc, patch_size)
    entries = read_cohort(cohort, seed, files.fault)
    if files.used(entries):
        found = files.common(entries, model, magnifications, begun)
        given = replace(given, **asdict(found), from_files=True)
    chosen = given.chosen() if begun is None else begun.chosen(given)
    known = entry(chosen.model)
    settings = known.recipe(recipe)
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        learning_rate=settings.learning_rate if learning_rate is None else learning_rate,
        accumulate=flags.accumulate or settings.accumulate,
    )
    scales = chosen.magnifications or known.magnifications(settings)
    known.check_scales(scales)
    built = {**settings.options, **chosen.options}
    known.options(built)  # before hours of embedding
    to_learn = _task(entries, task, unit)
    to_learn = to_learn if begun is None else begun.task(to_learn)
    plan = Plan(chosen.model, built, settings, recipe, seed, to_learn, flags, begun)
    _check_monitor(plan)
    _check_options(plan, scales)
    reading = Reading(scales, chosen.patch_size, chosen.min_tissue, mpp, icc)
    slides = [one.slide for one in entries]
    with working_in(out, overwrite, resume):
        if known.takes == "pixels":
            bags = yield from pixel_bags(slides, store, reading)
            source = PIXELS
        elif given.from_files:
            bags, source = yield from files.bags(entries, reading, chosen.encoder)
        else:
            bags, source = yield from embedded_bags(slides, chosen.encoder, store, reading, device)
        examples = {
            split: [(bags[one.slide], plan.task.target(one.label)) for one in entries if one.split == split]
            for split in ("train", "val", "test")
        }
        run = RunFolder(out, provenance(plan, reading, source, entries))
        statistics = partial(
            training_statistics,
            entries=entries, bags=bags, reading=reading, source=source, device=computes_on,
        )  # fmt: skip
        return (
            yield from _fit(plan, reading, source, entries, examples, run, computes_on, resume, statistics)
        )


def _check_monitor(plan: Plan) -> None:
    """Refuse a recipe that selects the epoch by a metric which the task does not have.

    Raises
    ------
    ModelError
    """
    monitor = plan.recipe.monitor
    if not monitor.endswith("loss") and monitor.removeprefix("val_") not in plan.task.metrics():
        kind = "classification" if isinstance(plan.task, Classification) else "regression"
        raise ModelError(
            f"the recipe {plan.recipe_name!r} selects by {monitor}, which a {kind} does not have; choose "
            "another recipe"
        )


def _check_options(plan: Plan, magnifications: Sequence[float]) -> None:
    """Build the model once without memory: options may not fit together, and embedding takes hours.

    Raises
    ------
    ModelError
    """
    import torch

    from napari_zoommil.models import create

    with torch.device("meta"):
        create(plan.model, 8, len(plan.task.names), magnifications, **plan.options)


def _task(entries: Sequence[LabelledSlide], kind: str, unit: str) -> Task:
    """What the labels of a cohort say is to be learnt.

    Raises
    ------
    CohortError
        If a label is no number where one is needed, or there is nothing to tell apart.
    """
    from napari_zoommil.training.mil.cohort import class_names

    labels = [one.label for one in entries]
    if kind == "regression" or (kind == "auto" and are_measurements(labels)):
        measurements(labels)
        return Regression.fitted(measurements([one.label for one in entries if one.split == "train"]), unit)
    return Classification(class_names(list(entries)))


def _fit(
    plan: Plan,
    reading: Reading,
    source: Source,
    entries: Sequence[LabelledSlide],
    examples: dict[str, list[Example]],
    run: RunFolder,
    device: Device,
    resume: bool,
    statistics: Callable[[MILModel], Job[Familiarity | None]],
) -> Job[Training]:
    from napari_zoommil.encoders.random_numbers import own_random_numbers
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import save_model
    from napari_zoommil.training.mil.fitting import fit

    checkpoint = run.begin(resume)
    with own_random_numbers(plan.seed):
        mil = create(plan.model, source.width, len(plan.task.names), reading.magnifications, **plan.options)
    if checkpoint is None and plan.start is None:
        mil.start()
    if plan.start is not None:
        plan.start.fill(mil, plan.task, plan.options)
    mil.task, mil.patch_size, mil.encoder_hash = plan.task, reading.patch_size, source.encoder_hash
    slides = examples["train"], examples["val"]
    fitting = fit(mil, plan.recipe, *slides, run, checkpoint, device, plan.seed, plan.flags)
    with closing(fitting) as steps:
        for step in steps:
            shown = " ".join(f"{name} {step.metrics[name]:.3f}" for name in SHOWN if name in step.metrics)
            note = f"epoch {step.epoch + 1} of {plan.recipe.epochs} {shown}"
            yield Progress(step.step, step.total, note, step)
    answers = yield from answers_of(mil, examples, device)
    metrics = {f"{split}_{name}": v for split, one in answers.items() for name, v in one.metrics.items()}
    made = reports(plan.task, answers, entries, plan.seed)
    spec = specification(
        mil, plan, reading, source, {s: len(found) for s, found in examples.items()}, metrics
    )
    save_model(run.folder, mil, spec, card(spec, table(made)))
    write_held_out(run.folder, plan.task, answers, made, entries)
    try:
        if (known := (yield from statistics(mil))) is not None:
            keep_familiarity(run.folder, known)
    except ZoomMILError as error:  # the model is there, and says "unknown"
        warnings.warn(f"no statistics of the training could be kept: {error}", stacklevel=2)
    run.finish(metrics)
    return Training(run.folder, plan.task, metrics)
