"""``train``: a labelled cohort to a model folder; features are embedded first where they are missing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import train_reasons as reasons
from napari_zoommil.jobs.cohort_bags import PIXELS, embedded_bags, image_bags, pixel_bags
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
    Range,
    Seed,
    TissueDetectorToTrain,
    TissueShareToTrain,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.train_choices import Asked, Choices, joined, write_plan
from napari_zoommil.jobs.train_familiarity import training_statistics
from napari_zoommil.jobs.train_fit import Data, fit_model, run_of
from napari_zoommil.jobs.train_folds import cross_validate
from napari_zoommil.jobs.train_held_out import (
    HeldOut,
    held_out_of,
    reports,
    table,
    write_held_out,
)
from napari_zoommil.jobs.train_plan import card, specification
from napari_zoommil.jobs.train_prepare import Prepared, prepare
from napari_zoommil.model_folder import keep_familiarity
from napari_zoommil.models.registry import entry
from napari_zoommil.models.task import Classification, Task
from napari_zoommil.training.flags import ONE_DEVICE, TrainerFlags
from napari_zoommil.training.mil.cohort import Columns
from napari_zoommil.training.run import FOLDS, PLAN, RunFolder, working_in

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

RANKED = ("AUROC", "spearman")
"""Metrics of all held-out slides together, beside those of a training."""

SHORT = {"weighted F1": "f1"}
"""Names of metrics among those of a training, where they differ from those of the report."""

OWN_COLUMNS = Columns()


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
    """

    model: Path
    task: Task
    metrics: dict[str, float]
    plan: Choices

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
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    plan: Path | None = None,
    only_plan: bool = False,
    folds: Annotated[int | None, Range(2, 20)] = None,
    columns: Columns = OWN_COLUMNS,
    task: Literal["auto", "classification", "regression"] | None = None,
    unit: str | None = None,
    magnifications: tuple[float, ...] | None = None,
    patch_size: PatchSizeToTrain = None,
    min_tissue: TissueShareToTrain = None,
    tissue_detector: TissueDetectorToTrain = None,
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

    What is chosen, and why, is told first, and written to ``plan.json`` before the training begins. Features
    that are not in ``store`` are encoded in between.

    Parameters
    ----------
    cohort : Path
        Table with the columns slide and label, and optionally split (train, val, test), fold and group. Or a
        folder with a folder of images (PNG, JPEG, TIFF) for each class, or with folders train, val and test
        of such folders.
    model : str, optional
        Architecture; the command ``models`` lists them with their options and recipes. Those that read pixels
        need no encoder. zoommil by default, or that of ``start``.
    start : str, optional
        Model (shipped, folder or hub name) whose weights the training starts from. Architecture, options,
        encoder, patch size and magnifications are its own; its head is new where the classes differ by name.
    options : dict, optional
        Options of the model, such as k=16.
    recipe : str, optional
        Training settings that go with the model, by name; default by default.
    settings : dict, optional
        Settings that differ from the recipe's, such as weight_decay=1e-5, monitor=val_f1 or weighted=false.
    plan : Path, optional
        A plan.json to follow, as it was written or changed; what is chosen here has precedence.
    only_plan : bool
        Write the plan into the model folder, and stop.
    folds : int, optional
        Folds of a cross-validation, by group: each slide is held out once, and the model is the ensemble of
        those of the folds. As the table's column fold states, or none, by default.
    columns : Columns
        Names of the table's columns, and a table of slides that it is joined to.
    task : {"auto", "classification", "regression"}, optional
        What labels are. By themselves they are measurements (regression) if all are numbers, and one has a
        fraction or there are more than 20 different ones; else they name classes.
    unit : str, optional
        Of measurements, as users read it, such as cells/mm².
    magnifications : tuple of float, optional
        Rising by whole factors; by default those of ``start``, or of the recipe, halved until all slides are
        fine enough. Models that read images take 0 for the images' own pixels, which is also what they read
        if no image states its pixel size.
    flags : TrainerFlags
        Devices and precision; one device and single precision by default.
    resume : bool
        Go on with a training of this folder that was cut off, if there is one.

    Yields
    ------
    Progress
        ``partial`` of the first is the plan, a tuple of :class:`~napari_zoommil.jobs.train_choices.Choice`;
        of others a step of the fit.

    Returns
    -------
    Training

    Raises
    ------
    CohortError
        If the table is malformed, contradicts itself, lacks training or validation slides, or its labels do
        not fit the task; or if slides cannot be opened or are too coarse. All faults are told at once.
    ModelError
        If there is no such model, recipe, setting or option, the magnifications do not fit the model, or
        ``out`` holds another training to go on with, a finished one, or anything else without ``overwrite``;
        or if what is given differs from the model to start from.
    EncoderError, ConsentError
        If the encoder is not that of the model to start from, or the user has to name it.
    JobError
        If this machine does not have the devices, or cannot train with these flags.
    FileError
        If ``out`` cannot be written to.
    """
    from napari_zoommil.encoders.device import choose_device

    computes_on = choose_device(device)
    flags.check(computes_on)
    given = dict(settings or {})
    given |= {k: v for k, v in (("epochs", epochs), ("learning_rate", learning_rate)) if v is not None}
    asked = Asked(
        model,
        start,
        recipe,
        encoder,
        magnifications,
        patch_size,
        min_tissue,
        tissue_detector,
        folds,
        task,
        unit,
        options or {},
        given,
    ).following(plan)
    asked.check()
    prepared = yield from prepare(cohort, columns, asked, features, flags, seed, mpp, icc)
    planned = plan is not None and plan.resolve() == (out / PLAN).resolve()
    with working_in(out, overwrite, resume and not only_plan, planned or only_plan):
        yield Progress(0, 1, "planned", prepared.choices)
        if only_plan:
            write_plan(out, prepared.choices)
            return Training(out, prepared.plan.task, {}, prepared.choices)
        data = yield from _data(prepared, store, device)
        prepared = _counted(prepared, data)
        if not (resume and (out / PLAN).exists()):  # what is gone on with has its own, also if it is refused
            write_plan(out, prepared.choices)
        yield Progress(0, 1, "planned", prepared.choices)
        if prepared.folds:
            return (yield from _train_folds(prepared, data, out, computes_on, resume))
        return (yield from _train_once(prepared, data, out, computes_on, resume))


def _data(prepared: Prepared, store: Path, device: str) -> Job[Data]:
    """The bags of all slides."""
    slides = [one.slide for one in prepared.cohort.entries]
    takes = entry(prepared.plan.model).takes
    if takes == "image":
        bags = yield from image_bags(slides, prepared.reading)
        return Data(bags, prepared.reading, PIXELS)
    if takes == "pixels":
        bags = yield from pixel_bags(slides, store, prepared.reading)
        return Data(bags, prepared.reading, PIXELS)
    if prepared.files is not None:
        read = prepared.files.bags(prepared.cohort.entries, prepared.reading, prepared.encoder)
        bags, source = yield from read
        return Data(bags, prepared.reading, source)
    found, source = yield from embedded_bags(slides, prepared.encoder, store, prepared.reading, device)
    return Data(found, prepared.reading, source)


def _counted(prepared: Prepared, data: Data) -> Prepared:
    """With the reasons that only the patches tell."""
    grids = [bag.grid for bag in data.bags.values()]
    scales = data.reading.magnifications
    patches = {one: [len(grid.levels[level]) for grid in grids] for level, one in enumerate(scales)}
    return replace(
        prepared, choices=joined(prepared.choices, tuple(reasons.of_patches(prepared.choices, patches)))
    )


def _train_once(prepared: Prepared, data: Data, out: Path, device: Device, resume: bool) -> Job[Training]:
    plan, entries = prepared.plan, prepared.divided
    run = run_of(plan, data, entries, out)
    fitted = yield from fit_model(plan, data, entries, run, device, resume)
    parts = held_out_of(fitted.answers, entries, fitted.model.task)
    made = _Made(fitted.model, entries, parts, fitted.metrics)
    return (yield from _finish(made, prepared, data, run, device))


def _train_folds(prepared: Prepared, data: Data, out: Path, device: Device, resume: bool) -> Job[Training]:
    kept = [one for one in prepared.cohort.entries if one.split == "test"]
    entries = [one if one.split == "test" else replace(one, split="train") for one in prepared.cohort.entries]
    run = run_of(prepared.plan, data, entries, out, prepared.folds)
    run.begin_folds(resume)
    found = yield from cross_validate(prepared, data, out, device, resume)
    parts = list(found.held_out)
    metrics: dict[str, float] = {}
    if found.tested is not None:
        parts.append(HeldOut("test", tuple(kept), found.tested, found.ensemble.task))
        metrics = {f"test_{name}": value for name, value in found.tested.metrics.items()}
    made = _Made(found.ensemble, tuple(entries), tuple(parts), metrics)
    return (yield from _finish(made, prepared, data, run, device))


@dataclass(frozen=True, eq=False)
class _Made:
    """A trained model, the slides that it was made of by split, and what held-out slides show."""

    model: MILModel
    entries: Sequence[LabelledSlide]
    held_out: Sequence[HeldOut]
    metrics: dict[str, float]


def _finish(made: _Made, prepared: Prepared, data: Data, run: RunFolder, device: Device) -> Job[Training]:
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
