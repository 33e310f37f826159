"""A cross-validation: a model for each fold, and the ensemble of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.files import make_folder
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.jobs.train_fit import Data, Fitted, fit_model, run_of
from napari_zoommil.jobs.train_held_out import HeldOut, answers_of
from napari_zoommil.jobs.train_plan import Plan, card, specification
from napari_zoommil.jobs.train_prepare import Prepared
from napari_zoommil.training.run import FOLDS, RunFolder, is_trained

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.ensemble import Ensemble
    from napari_zoommil.training.mil.fitting import Evaluated
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

PARTS = 1000
"""Progress steps of a fold."""


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """The models of all folds as one, and what each says of the slides held out from it."""

    ensemble: Ensemble
    held_out: tuple[HeldOut, ...]
    tested: Evaluated | None


def cross_validate(
    prepared: Prepared, data: Data, out: Path, device: Device, resume: bool
) -> Job[CrossValidated]:
    """Train a model for each fold, each in a folder of ``out``, and make an ensemble of them.

    With ``resume``, folds that are trained are not trained again.

    Raises
    ------
    ModelError
        If the folder of a fold holds another training to go on with.
    """
    from napari_zoommil.models.ensemble import Ensemble

    plan, count = prepared.plan, prepared.folds
    assert count is not None
    models, held_out = [], []
    for number, fold in enumerate(prepared.division.splits(prepared.cohort)):
        own = prepared.of_fold(fold.entries)
        run = run_of(own, data, fold.entries, out / FOLDS / str(number + 1))
        job = _fold(own, data, fold.entries, run, device, resume, f"fold {number + 1} of {count}: ")
        fitted = yield from retold(job, _part_of(number, count))
        models.append(fitted.model)
        tested = [one for one in fold.entries if one.split == "test"]
        held_out.append(
            HeldOut(f"fold {number + 1}", tuple(tested), fitted.answers["test"], fitted.model.task)
        )
    ensemble = Ensemble.of(models, plan.task)
    ensemble.patch_size, ensemble.encoder_hash = data.reading.patch_size, data.source.encoder_hash
    kept = [one for one in prepared.cohort.entries if one.split == "test"]
    if not kept:
        return CrossValidated(ensemble, tuple(held_out), None)
    answers = yield from answers_of(ensemble, data.examples(kept, plan.task), device, "ensemble: ")
    return CrossValidated(ensemble, tuple(held_out), answers["test"])


def _part_of(number: int, count: int) -> Any:
    """Converts the progress of one fold to that of all."""

    def tell(progress: Progress) -> Progress:
        share = min(progress.done / progress.total, 1.0) if progress.total else 0.0
        done = round(PARTS * (number + share))
        return replace(progress, done=done, total=PARTS * count, seconds_left=None)

    return tell


def _fold(
    plan: Plan,
    data: Data,
    entries: Sequence[LabelledSlide],
    run: RunFolder,
    device: Device,
    resume: bool,
    title: str,
) -> Job[Fitted]:
    """The model of one fold: trained, or the one that is there."""
    from napari_zoommil.models.spec import load_model, save_model

    if resume and is_trained(run.folder):
        run.require_same()
        model, _ = load_model(run.folder)
        answers = yield from answers_of(model, data.examples(entries, plan.task), device, title)
        return Fitted(model, answers)
    make_folder(run.folder)
    fitted = yield from fit_model(plan, data, entries, run, device, resume, title)
    spec = specification(fitted.model, plan, data.reading, data.source, entries, fitted.metrics)
    save_model(run.folder, fitted.model, spec, card(spec, f"Of a cross-validation: {title.rstrip(': ')}."))
    run.finish(fitted.metrics)
    return fitted
