"""What trained models say of slides held out from them, and how good that is, as files of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.files import write_json, write_table
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_card import markdown_table
from napari_zoommil.models.task import Task
from napari_zoommil.training.run import FOLDS

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.fitting import Evaluated
    from napari_zoommil.training.mil.held_out import Answers
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide
    from napari_zoommil.training.mil.module import Example

REPORT, PREDICTIONS = "held_out.json", "predictions.csv"
SPLITS = ("val", "test")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Slides that were held out together, and a model's outputs for them.

    Attributes
    ----------
    split : str
        ``val``, ``test``, or ``fold 2``.
    entries : tuple of LabelledSlide
    answers : Evaluated
        In the order of ``entries``.
    task : Task
        Of the model.
    """

    split: str
    entries: tuple[LabelledSlide, ...]
    answers: Evaluated
    task: Task

    @property
    def part(self) -> str:
        """Of the report: the split, or :data:`FOLDS` for the slides of all folds together."""
        return FOLDS if self.split.startswith("fold ") else self.split


def answers_of(
    mil: MILModel, examples: Mapping[str, Sequence[Example]], device: Device, title: str = ""
) -> Job[dict[str, Evaluated]]:
    """The model's answers for the held-out slides of each split."""
    from napari_zoommil.training.mil.fitting import evaluate

    found = {}
    for split in SPLITS:
        own = examples[split]
        with closing(evaluate(mil, own, device)) as steps:
            while True:
                try:
                    number = next(steps)
                except StopIteration as stop:
                    found[split] = stop.value
                    break
                yield Progress(number, len(own), f"{title}measuring: {number} of {len(own)} {split} slides")
    return found


def held_out_of(
    answers: Mapping[str, Evaluated], entries: Sequence[LabelledSlide], task: Task
) -> tuple[HeldOut, ...]:
    """The answers of one model by split."""
    return tuple(
        HeldOut(split, tuple(one for one in entries if one.split == split), found, task)
        for split, found in answers.items()
    )


def reports(task: Task, parts: Sequence[HeldOut], seed: int) -> dict[str, Any]:
    """Metrics of each part with slides, see :func:`napari_zoommil.training.mil.held_out.report`.

    A classification has the temperatures that its probabilities are of beside them.
    """
    from napari_zoommil.training.mil.held_out import over_folds, report

    made: dict[str, Any] = {}
    for name in dict.fromkeys(part.part for part in parts if part.entries):
        own = [part for part in parts if part.part == name]
        made[name] = report(task, _answers(own), seed)
        if name == FOLDS:
            made[name]["over_folds"] = over_folds(task, [_answers([part]) for part in own])
        temperatures = [getattr(part.task, "temperature", None) for part in own]
        if None not in temperatures:
            made[name]["temperature"] = temperatures if name == FOLDS else temperatures[0]
    return made


def _answers(parts: Sequence[HeldOut]) -> Answers:
    """What models say of the slides of several parts."""
    from napari_zoommil.training.mil.held_out import Answers

    slides = [one for part in parts for one in part.entries]
    return Answers(
        tuple(one.group or str(one.slide) for one in slides),
        np.concatenate([part.answers.targets for part in parts]),
        np.concatenate([part.answers.values(part.task) for part in parts]),
        tuple(one.stratum for one in slides) if any(one.stratum for one in slides) else (),
        tuple(one.subsets for one in slides),
    )


def write_held_out(folder: Path, made: Mapping[str, Any], parts: Sequence[HeldOut]) -> None:
    """Write :data:`REPORT` and :data:`PREDICTIONS`.

    A slide is told by its line in the table of slides, since names of slides can tell who the patients are.
    """
    write_json(folder / REPORT, made)
    rows = []
    for part in parts:
        values = part.answers.values(part.task).astype(np.float32)
        for entry, own in zip(part.entries, values, strict=True):
            told = {"split": part.split, "line": entry.line, "label": entry.label}
            rows.append(told | {"predicted": part.task.predicted(own)} | part.task.figures(own))
    write_table(folder / PREDICTIONS, list(rows[0]) if rows else ["split"], rows)


def table(made: Mapping[str, Any]) -> str:
    """Metrics of held-out slides with their intervals, and what is taken for what, as Markdown tables."""
    lines = [
        (split, name, f"{one['value']:.3f}", f"{one['low']:.2f} to {one['high']:.2f}" if "low" in one else "")
        for split, content in made.items()
        for name, one in content["per_slide"]["metrics"].items()
    ]
    metrics = markdown_table(("split", "metric", "value", "95 % interval over patients"), lines)
    matrices = [_matrix(split, content["per_slide"]["confusion"]) for split, content in made.items()
                if "confusion" in content["per_slide"]]  # fmt: skip
    return "\n\n".join([metrics, *matrices])


def _matrix(split: str, confusion: Mapping[str, Any]) -> str:
    """A confusion matrix as a Markdown table: rows are the slides' classes."""
    names = confusion["classes"]
    rows = [
        (name, *map(str, counts)) for name, counts in zip(names, confusion["rows are classes"], strict=True)
    ]
    return markdown_table((f"{split}: slides of", *(f"told {name}" for name in names)), rows)
