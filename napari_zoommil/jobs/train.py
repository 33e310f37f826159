"""``train``: a labelled cohort to a model folder; features are embedded first where they are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_zoommil.files import real
from napari_zoommil.jobs import train_reasons as reasons
from napari_zoommil.jobs.cohort_bags import embedded_bags, image_bags, pixel_bags
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
from napari_zoommil.jobs.train_choices import Asked, joined, write_plan
from napari_zoommil.jobs.train_fit import Data, fit_model, run_of
from napari_zoommil.jobs.train_folds import cross_validate
from napari_zoommil.jobs.train_held_out import HeldOut, held_out_of
from napari_zoommil.jobs.train_prepare import Prepared, prepare
from napari_zoommil.jobs.train_result import Made, Training, finish, trained_before_in, without_splits
from napari_zoommil.models.registry import entry
from napari_zoommil.training.flags import ONE_DEVICE, TrainerFlags
from napari_zoommil.training.mil.cohort import OWN_COLUMNS, Columns
from napari_zoommil.training.run import FINISHED, PLAN, is_trained, require_elsewhere, working_in

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device


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
        Go on with a training of this folder that was cut off, if there is one; of one that is finished, its
        result is returned.

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
        ``out`` holds another training to go on with, anything else without ``overwrite``, or the model to
        start from; or if what is given differs from that model.
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
    if asked.start is not None:
        require_elsewhere(out, asked.start)
    planned = plan is not None and real(plan) == real(out / PLAN)
    with working_in(out, overwrite, resume and not only_plan, planned or only_plan):
        yield Progress(0, 1, "planned", prepared.choices)
        if only_plan:
            write_plan(out, prepared.choices)
            return Training(out, prepared.plan.task, {}, prepared.choices)
        if resume and is_trained(out):
            yield Progress(1, 1, FINISHED)
            return trained_before_in(prepared, out)
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
        found = yield from image_bags(slides, prepared.reading)
    elif takes == "pixels":
        found = yield from pixel_bags(slides, store, prepared.reading)
    elif prepared.files is not None:
        read = prepared.files.bags(prepared.cohort.entries, prepared.reading, prepared.encoder)
        found = yield from read
    else:
        found = yield from embedded_bags(slides, prepared.encoder, store, prepared.reading, device)
    return Data(found.bags, prepared.reading, found.source, found.counts)


def _counted(prepared: Prepared, data: Data) -> Prepared:
    """With the reasons that only the patches tell."""
    patches = dict(zip(data.reading.magnifications, zip(*data.counts, strict=True), strict=True))
    return replace(
        prepared, choices=joined(prepared.choices, tuple(reasons.of_patches(prepared.choices, patches)))
    )


def _train_once(prepared: Prepared, data: Data, out: Path, device: Device, resume: bool) -> Job[Training]:
    plan, entries = prepared.plan, prepared.divided
    run = run_of(plan, data, entries, out)
    fitted = yield from fit_model(plan, data, entries, run, device, resume)
    parts = held_out_of(fitted.answers, entries, fitted.model.task)
    made = Made(fitted.model, entries, parts, fitted.metrics)
    return (yield from finish(made, prepared, data, run, device))


def _train_folds(prepared: Prepared, data: Data, out: Path, device: Device, resume: bool) -> Job[Training]:
    kept = [one for one in prepared.cohort.entries if one.split == "test"]
    entries = without_splits(prepared.cohort.entries)
    run = run_of(prepared.plan, data, entries, out, prepared.folds)
    run.begin_folds(resume)
    found = yield from cross_validate(prepared, data, out, device, resume)
    parts = list(found.held_out)
    metrics: dict[str, float] = {}
    if found.tested is not None:
        parts.append(HeldOut("test", tuple(kept), found.tested, found.ensemble.task))
        metrics = {f"test_{name}": value for name, value in found.tested.metrics.items()}
    made = Made(found.ensemble, tuple(entries), tuple(parts), metrics)
    return (yield from finish(made, prepared, data, run, device))
