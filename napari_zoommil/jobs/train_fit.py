"""One fit of a training: a model in a folder of its own, and what it says of slides held out from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.jobs.cohort_bags import Reading, Source
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.train_held_out import answers_of
from napari_zoommil.jobs.train_plan import Plan, provenance
from napari_zoommil.models.task import Classification, Task
from napari_zoommil.training.run import RunFolder

if TYPE_CHECKING:
    from napari_zoommil.bags.bag import Bag
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.fitting import Evaluated
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide
    from napari_zoommil.training.mil.module import Example

SHOWN = ("train_loss", "val_loss")
"""Metrics that a fit's progress names."""

FEWEST_TO_CALIBRATE = 8
"""Validation slides without which probabilities are left as they are."""


@dataclass(frozen=True)
class Data:
    """What models are trained on: the slides' bags, and how they were read."""

    bags: Mapping[Path, Bag]
    reading: Reading
    source: Source
    counts: Sequence[tuple[int, ...]] = ()
    """Patches of each slide at each magnification."""

    def examples(self, entries: Sequence[LabelledSlide], task: Task) -> dict[str, list[Example]]:
        """Bags with their targets, by split."""
        return {
            split: [(self.bags[one.slide], task.target(one.label)) for one in entries if one.split == split]
            for split in ("train", "val", "test")
        }


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model, on the CPU, and its outputs for held-out slides.

    Attributes
    ----------
    model : MILModel
        Its task has the temperature.
    answers : dict of str to Evaluated
        By split, ``val`` and ``test``.
    """

    model: MILModel
    answers: Mapping[str, Evaluated]

    @property
    def metrics(self) -> dict[str, float]:
        return {
            f"{split}_{name}": v for split, one in self.answers.items() for name, v in one.metrics.items()
        }


def fit_model(
    plan: Plan,
    data: Data,
    entries: Sequence[LabelledSlide],
    run: RunFolder,
    device: Device,
    resume: bool,
    title: str = "",
) -> Job[Fitted]:
    """Train a model on the slides of the split train.

    Raises
    ------
    ModelError
        If ``run`` holds another training to go on with, or a finished one.
    """
    from napari_zoommil.training.mil.fitting import fit

    checkpoint = run.begin(resume)
    mil = _new_model(plan, data, begins=checkpoint is None)
    examples = data.examples(entries, plan.task)
    slides = examples["train"], examples["val"]
    fitting = fit(mil, plan.recipe, *slides, run, checkpoint, device, plan.seed, plan.flags)
    with closing(fitting) as steps:
        for step in steps:
            shown = " ".join(f"{name} {step.metrics[name]:.3f}" for name in SHOWN if name in step.metrics)
            note = f"{title}epoch {step.epoch + 1} of {plan.recipe.epochs} {shown}"
            yield Progress(step.step, step.total, note, step)
    answers = yield from answers_of(mil, examples, device, title)
    mil.task = calibrated(mil.task, answers["val"])
    return Fitted(mil, answers)


def _new_model(plan: Plan, data: Data, begins: bool) -> MILModel:
    """An untrained model, or that which the training starts from."""
    from napari_zoommil.encoders.random_numbers import own_random_numbers
    from napari_zoommil.models import create

    reading, source = data.reading, data.source
    with own_random_numbers(plan.seed):
        mil = create(plan.model, source.width, len(plan.task.names), reading.magnifications, **plan.options)
    if begins and plan.start is None:
        mil.start()
    if plan.start is not None:
        plan.start.fill(mil, plan.task, plan.options)
    mil.task, mil.patch_size, mil.encoder_hash = plan.task, reading.patch_size, source.encoder_hash
    return mil


def calibrated(task: Task, validated: Evaluated) -> Task:
    """A classification with the temperature of its validation slides, if these are enough to tell."""
    from napari_zoommil.training.mil.calibration import temperature

    if not isinstance(task, Classification) or len(validated.targets) < FEWEST_TO_CALIBRATE:
        return task
    return replace(task, temperature=temperature(validated.logits, validated.targets))


def run_of(
    plan: Plan, data: Data, entries: Sequence[LabelledSlide], folder: Path, folds: int | None = None
) -> RunFolder:
    """The run of a fit in a folder, or of a cross-validation."""
    found = provenance(plan, data.reading, data.source, entries)
    return RunFolder(folder, found | ({"folds": folds} if folds else {}))
