"""What a trained model says of held-out slides, and how good that is, as files of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.files import write_json, write_table
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_card import markdown_table
from napari_zoommil.models.task import Task

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.cohort import LabelledSlide
    from napari_zoommil.training.mil.fitting import Evaluated
    from napari_zoommil.training.mil.module import Example

REPORT, PREDICTIONS = "held_out.json", "predictions.csv"
SPLITS = ("val", "test")


def answers_of(
    mil: MILModel, examples: Mapping[str, Sequence[Example]], device: Device
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
                yield Progress(number, len(own), f"measuring: {number} of {len(own)} {split} slides")
    return found


def reports(
    task: Task, found: Mapping[str, Evaluated], entries: Sequence[LabelledSlide], seed: int
) -> dict[str, Any]:
    """Metrics of each split with held-out slides, see :func:`napari_zoommil.training.mil.held_out.report`."""
    from napari_zoommil.training.mil.held_out import Answers, report

    made = {}
    for split, one in found.items():
        if len(one.targets):
            groups = tuple(entry.group or str(entry.slide) for entry in entries if entry.split == split)
            made[split] = report(task, Answers(groups, one.targets, one.values), seed)
    return made


def write_held_out(
    folder: Path,
    task: Task,
    found: Mapping[str, Evaluated],
    made: Mapping[str, Any],
    entries: Sequence[LabelledSlide],
) -> None:
    """Write :data:`REPORT` and :data:`PREDICTIONS`.

    A slide is told by its line in the cohort table, since names of slides can tell who the patients are.
    """
    write_json(folder / REPORT, made)
    rows = []
    for split, one in found.items():
        own = [entry for entry in entries if entry.split == split]
        for entry, values in zip(own, one.values.astype(np.float32), strict=True):
            told = {"split": split, "line": entry.line, "label": entry.label}
            rows.append(told | {"predicted": task.predicted(values)} | task.figures(values))
    write_table(folder / PREDICTIONS, list(rows[0]) if rows else ["split"], rows)


def table(made: Mapping[str, Any]) -> str:
    """Metrics of held-out slides with their intervals, as a Markdown table."""
    lines = [
        (split, name, f"{one['value']:.3f}", f"{one['low']:.2f} to {one['high']:.2f}" if "low" in one else "")
        for split, content in made.items()
        for name, one in content["per_slide"]["metrics"].items()
    ]
    return markdown_table(("slides", "metric", "value", "95 % interval over patients"), lines)
