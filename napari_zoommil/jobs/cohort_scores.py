"""How good the answers for a cohort are: which slides count, confusion matrix, accuracy and weighted F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.jobs.cohort import CohortRow, counted
from napari_zoommil.models.task import Classification

HELD_OUT = ("val", "test")
"""Splits that a training does not learn from."""

Cell = tuple[str, str]
"""Label and predicted class."""


@dataclass(frozen=True)
class Filter:
    """Which rows are shown.

    Attributes
    ----------
    text : str
        Part of the name of the slide, of its label, group or prediction, in any case.
    split : str
        Empty for all.
    wrong_only : bool
    cell : (str, str) or None
        Label and predicted class, of the slides that ``counted`` takes.
    counted : tuple of str
        Splits in which the cell counts; empty for all.
    """

    text: str = ""
    split: str = ""
    wrong_only: bool = False
    cell: Cell | None = None
    counted: tuple[str, ...] = ()

    def takes(self, row: CohortRow) -> bool:
        entry = row.entry
        if self.split and entry.split != self.split:
            return False
        if self.wrong_only and not row.is_wrong:
            return False
        if self.cell is not None and (
            self.cell != (entry.label, row.predicted) or not is_counted(row, self.counted)
        ):
            return False
        texts = (entry.slide.name, entry.label, entry.group, row.predicted)
        return not self.text or any(self.text.casefold() in text.casefold() for text in texts)


def is_counted(row: CohortRow, splits: Sequence[str]) -> bool:
    """Whether a row counts: it can be judged, and is in one of the splits (or there are none to choose)."""
    return row.can_be_judged and (not splits or row.entry.split in splits)


def ways_to_count(splits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Titles of the choices of rows that count, with their splits, the first by default."""
    if not splits:
        return {"All with a label": ()}
    held_out = tuple(one for one in HELD_OUT if one in splits)
    ways = {f"Held out ({' and '.join(held_out)})": held_out} if len(held_out) > 1 else {}
    ways |= {f"Split {one}": (one,) for one in (*reversed(held_out), *splits)}
    return ways | {"All with a label": ()}


@dataclass(frozen=True, eq=False)
class Scores:
    """What is counted of the rows.

    Attributes
    ----------
    classes : tuple of str
        Rows and columns of the matrix; none of a regression.
    matrix : (C, C) int64
        Slides by label (row) and predicted class (column).
    judged, answered : int
        Slides that count, and those with an answer in these splits, labelled so that they can count or not.
    metrics : dict of str to float
    """

    classes: tuple[str, ...]
    matrix: NDArray[np.int64]
    judged: int
    answered: int
    metrics: dict[str, float]


def scores_of(rows: Sequence[CohortRow], splits: Sequence[str]) -> Scores:
    """Count the rows of some splits; of all without splits."""
    from napari_zoommil.training.mil.held_out import Answers, figures

    there = [one for one in rows if one.answer is not None and (not splits or one.entry.split in splits)]
    counted = [(one, one.answer) for one in there if one.can_be_judged and one.answer is not None]
    if not counted:
        return Scores((), np.zeros((0, 0), np.int64), 0, len(there), {})
    task = counted[0][1].task
    counted = [(one, answer) for one, answer in counted if answer.task == task]
    targets = np.array([float(task.target(one.entry.label)) for one, _ in counted])
    values = np.array([answer.values for _, answer in counted], np.float64)
    answers = Answers(tuple(one.entry.group for one, _ in counted), targets, values)
    found = {name: float(one[0]) for name, one in figures(task, answers, np.ones((1, len(counted)))).items()}
    told = ("accuracy", "weighted F1") if isinstance(task, Classification) else ("mae", "spearman")
    metrics = {name: found[name] for name in told if np.isfinite(found[name])}
    classes = task.names if isinstance(task, Classification) else ()
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    if classes:
        np.add.at(matrix, (targets.astype(int), values.argmax(1)), 1)
    return Scores(classes, matrix, len(counted), len(there), metrics)


NAMES = {"accuracy": "Accuracy", "weighted F1": "weighted F1", "mae": "Mean absolute error",
         "spearman": "Spearman correlation"}  # fmt: skip

MAY_BE_OF_TRAINING = (
    "The cohort states no splits: some that the model was trained on may be among them, and make it look "
    "better than it is."
)
OF_TRAINING = "Some that the model may have been trained on are among them."


def sentence_of(scores: Scores, splits: Sequence[str], known: Sequence[str], unit: str = "slide") -> str:
    """``Accuracy 0.83, weighted F1 0.82 on 6 slides of val and test.``, and what that is not to be taken for.

    Parameters
    ----------
    scores : Scores
    splits : sequence of str
        That count; empty for all.
    known : sequence of str
        Splits of the cohort.
    unit : str
        What is counted: slide or image.
    """
    where = f" of {' and '.join(splits)}" if splits else ""
    if not scores.judged:
        left = f"; of {scores.answered} the label is none that the model knows" if scores.answered else ""
        return f"No labelled {unit}{where} has a prediction yet{left}."
    told = ", ".join(f"{NAMES[name]} {value:.3g}" for name, value in scores.metrics.items())
    judged = f"{counted(scores.judged, unit)}{where}"
    told = f"{told} on {judged}." if told else f"{judged}."
    if (out := scores.answered - scores.judged) > 0:
        told += f" {out:,} more have a label that the model does not know, or none."
    if not known:
        return f"{told} {MAY_BE_OF_TRAINING}"
    return told if splits and set(splits) <= set(HELD_OUT) else f"{told} {OF_TRAINING}"
