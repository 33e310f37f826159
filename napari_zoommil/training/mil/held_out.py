"""How good a model is on held-out slides and patients: metrics with 95 % intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.models.task import Classification, Task, is_measurement
from napari_zoommil.training.mil import weighted_metrics as metrics
from napari_zoommil.training.mil.cohort_faults import is_missing

RESAMPLES = 1_000
"""Bootstrap samples of the patients."""

TAILS = (2.5, 97.5)
"""Percentiles of the interval."""

NO_VALUE = "(no value)"

THIRDS = 3
"""Parts of equally many slides that numbers are told by."""

FEWEST = 5
"""Patients without which no interval is given."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of n slides of a split.

    Attributes
    ----------
    groups : tuple of str
        Patient of each slide.
    targets : (n,) float64
        Index of the class, or value.
    values : (n, C) float64
        Probabilities of the classes, or the predicted value.
    strata : tuple of str
        A value of each slide by which results are also reported, such as a size; none by default.
    subsets : tuple of tuple of str
        Subsets that each slide belongs to, of which results are also reported; none by default.
    """

    groups: tuple[str, ...]
    targets: Floats
    values: Floats
    strata: tuple[str, ...] = ()
    subsets: tuple[tuple[str, ...], ...] = ()

    def of(self, rows: NDArray[np.int64]) -> Answers:
        """Some of the slides."""
        groups, strata = (
            tuple(one[row] for row in rows) if one else () for one in (self.groups, self.strata)
        )
        return Answers(groups, self.targets[rows], self.values[rows], strata)

    def by_patient(self) -> Answers:
        """The mean over the slides of each patient; patients whose slides differ in label are left out."""
        names, places = np.unique(self.groups, return_inverse=True)
        own = [np.flatnonzero(places == place) for place in range(len(names))]
        kept = [rows for rows in own if np.ptp(self.targets[rows]) == 0]
        groups = tuple(self.groups[rows[0]] for rows in kept)
        values = np.array([self.values[rows].mean(0) for rows in kept]).reshape(-1, self.values.shape[1])
        return Answers(groups, np.array([self.targets[rows[0]] for rows in kept]), values)


def report(task: Task, answers: Answers, seed: int = 0) -> dict[str, Any]:
    """Metrics per slide and, where a patient has several slides, per patient, for a JSON file.

    Each metric is ``{"value": …, "low": …, "high": …}`` with the bounds of the 95 % interval of a bootstrap
    over patients; metrics that are not defined for the slides are left out, and bounds where there are fewer
    than :data:`FEWEST` patients.
    """
    found: dict[str, Any] = {"per_slide": _measured(task, answers, seed)}
    patients = answers.by_patient()
    if len(set(answers.groups)) < len(answers.groups):
        found["per_patient"] = _measured(task, patients, seed)
        found["per_patient"]["left_out"] = len(set(answers.groups)) - len(patients.groups)
    if answers.strata:
        found["by"] = {
            name: _measured(task, answers.of(rows), seed) for name, rows in strata(answers.strata).items()
        }
    if any(answers.subsets):
        found["subsets"] = {
            name: _measured(
                task,
                answers.of(np.flatnonzero([name in own for own in answers.subsets])),
                seed,
            )
            for name in sorted(set().union(*answers.subsets))
        }
    return found


def over_folds(task: Task, folds: Sequence[Answers]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over folds of each metric, of the folds in which it is defined."""
    each = [figures(task, one, np.ones((1, len(one.targets)))) for one in folds if len(one.targets)]
    found = {}
    for name in dict.fromkeys(name for one in each for name in one):
        values = np.array([float(one[name][0]) for one in each if name in one])
        values = values[np.isfinite(values)]
        if len(values):
            spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            found[name] = {
                "mean": round(float(values.mean()), 4),
                "sd": round(spread, 4),
                "folds": len(values),
            }
    return found


def strata(values: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Slides by a value of theirs: by thirds, if all values are numbers and more than three, else by value.

    Returns
    -------
    dict of str to (m,) int64
        Places of the slides, by a name such as ``2 to 7.5``; those of slides without a value under
        :data:`NO_VALUE`.
    """
    there = np.array([place for place, value in enumerate(values) if not is_missing(value)], np.int64)
    own = [values[place] for place in there]
    found: dict[str, NDArray[np.int64]] = {}
    if all(map(is_measurement, own)) and len(set(own)) > THIRDS:
        numbers = np.array([float(value) for value in own])
        ends = np.quantile(numbers, np.arange(1, THIRDS) / THIRDS)
        parts = np.searchsorted(ends, numbers, side="left")
        for part in np.unique(parts):
            inside = numbers[parts == part]
            found[f"{inside.min():.12g} to {inside.max():.12g}"] = there[parts == part]
    else:
        found = {one: there[[value == one for value in own]] for one in sorted(set(own))}
    if without := sorted(set(range(len(values))) - set(there.tolist())):
        found[NO_VALUE] = np.array(without)
    return found


def _measured(task: Task, answers: Answers, seed: int) -> dict[str, Any]:
    names, places = np.unique(answers.groups, return_inverse=True)
    content: dict[str, Any] = {"count": len(answers.groups), "patients": len(names)}
    if not len(names):
        return content | {"metrics": {}}
    drawn = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    weights = np.concatenate([np.ones((1, len(places))), drawn[:, places].astype(np.float64)])
    values = figures(task, answers, weights if len(names) >= FEWEST else weights[:1])
    content["metrics"] = {name: _with_interval(one) for name, one in values.items() if np.isfinite(one[0])}
    if isinstance(task, Classification):
        matrix = metrics.confusion(*_classes(answers), len(task.names), weights[:1])[0]
        content["confusion"] = {"classes": list(task.names), "rows are classes": matrix.astype(int).tolist()}
        content["reliability"] = reliability(answers)
    return content


def reliability(answers: Answers) -> list[dict[str, float]]:
    """The reliability curve: of each bin with slides, the mean probability of the predicted class and how
    often it was right (Guo et al. 2017, fig. 1)."""
    confidence = answers.values.max(1)
    right = answers.values.argmax(1) == answers.targets
    bins = metrics.bin_of(confidence)
    return [
        {
            "slides": int((bins == one).sum()),
            "probability": round(float(confidence[bins == one].mean()), 4),
            "right": round(float(right[bins == one].mean()), 4),
        }
        for one in np.unique(bins)
    ]


def figures(task: Task, answers: Answers, weights: Floats) -> dict[str, Floats]:
    """(R,) values of each metric under (R, n) weights."""
    if not isinstance(task, Classification):
        value = answers.values[:, 0]
        both = answers.targets, value, weights
        return {
            "mae": metrics.mean_absolute_error(*both),
            "correlation": metrics.correlation(*both),
            "spearman": metrics.rank_correlation(*both),
        }
    targets, predicted = _classes(answers)
    matrix = metrics.confusion(targets, predicted, len(task.names), weights)
    scores = [(targets == one, answers.values[:, one], weights) for one in range(len(task.names))]
    by_class = {name: metrics.f1(matrix)[:, one] for one, name in enumerate(task.names)}
    return {
        "weighted F1": metrics.weighted_f1(matrix),
        "accuracy": metrics.accuracy(matrix),
        "AUROC": _mean([metrics.auroc(*one) for one in scores]),
        "average precision": _mean([metrics.average_precision(*one) for one in scores]),
        **{f"F1 of {name}": value for name, value in by_class.items()},
        "calibration error": metrics.calibration_error(answers.values, targets == predicted, weights),
    }


def _classes(answers: Answers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return answers.targets.astype(np.int64), answers.values.argmax(1)


def _mean(of_classes: Sequence[Floats]) -> Floats:
    """Mean over the classes; NaN unless each of them has slides and is not alone."""
    return np.mean(of_classes, axis=0)


def _with_interval(values: Floats) -> dict[str, float]:
    found = {"value": round(float(values[0]), 4)}
    defined = values[1:][np.isfinite(values[1:])]
    if len(defined):
        low, high = np.percentile(defined, TAILS)
        found |= {"low": round(float(low), 4), "high": round(float(high), 4)}
    return found
