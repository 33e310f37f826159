"""What trials of ``nic-slides`` are compared by: tasks, one parameter, controls, sizes of lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.experiments.nic_slides.trials import (
    CONTROLS,
    ENCODERS,
    ORACLE,
    Task,
    Trial,
    default_code,
)
from napari_zoommil.experiments.trial_rows import DASH, Row
from napari_zoommil.training.mil.held_out import RESAMPLES, TAILS
from napari_zoommil.training.mil.weighted_metrics import auroc, rank_correlation

CHANCE = {"presence": 0.5, "share": 0.0}

VARIED = {
    "size": "code size",
    "stride": "stride (and patch), px",
    "share": "share of the training slides",
    "region": "region, share of the preset's",
}


def default_rows(rows: Sequence[Row], task: Task) -> dict[str, Row]:
    """Rows of Tables 2 and 3, by encoder."""
    found = {row.trial: row for row in rows}
    trials = {encoder: Trial(task, default_code(encoder)) for encoder in ENCODERS}
    return {encoder: found[trial] for encoder, trial in trials.items() if trial in found}


def varied(rows: Sequence[Row], what: str) -> list[Row]:
    """Rows that differ from the paper's supervised default in one parameter alone."""
    base = Trial("presence", default_code(ORACLE))
    own = [row for row in rows if _with(base, what, row.trial) == row.trial]
    return sorted(own, key=lambda row: value_of(row.trial, what))


def value_of(trial: Trial, what: str) -> float:
    """A parameter of :data:`VARIED`."""
    return float(getattr(trial.code if what in ("size", "stride") else trial, what))


def _with(base: Trial, what: str, other: Trial) -> Trial:
    if what in ("size", "stride"):
        return replace(base, code=replace(base.code, **{what: getattr(other.code, what)}))
    return replace(base, **{what: getattr(other, what)})


def beats(row: Row, found: Mapping[str, Row]) -> str:
    """Whether it is better than the better control on the same slides, by a paired bootstrap over slides.

    A control that is below chance counts as chance.
    """
    controls = control_values(found)
    best = max(controls, key=controls.__getitem__, default=None)
    if best is None or len(found[best].results) != len(row.results):
        return DASH
    differences = _drawn(row) - np.maximum(_drawn(found[best]), CHANCE[row.trial.task])
    drawn = differences[1:][np.isfinite(differences[1:])]
    if not len(drawn):
        return DASH
    low, high = np.percentile(drawn, TAILS)
    verdict = "yes" if low > 0 else "no" if high < 0 else "not decidable"
    return f"{verdict}: {differences[0]:+.2f} ({low:+.2f} to {high:+.2f})"


def _drawn(row: Row) -> NDArray[np.float64]:
    """(1 + R,) metric of all slides, and of bootstrap samples of them, the same of all rows; means of the
    seeds."""
    each = []
    for one in row.results:
        values, truth = np.array([one["values"][name] for name in sorted(one["values"])]).T
        count = len(values)
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
        weights = np.concatenate([np.ones((1, count)), drawn])
        presence = row.trial.task == "presence"
        each.append(
            auroc(truth == 1, values, weights) if presence else rank_correlation(truth, values, weights)
        )
    found: NDArray[np.float64] = np.mean(each, 0)
    return found


def control_values(found: Mapping[str, Row]) -> dict[str, float]:
    """Means of the control encoders over all slides."""
    own = {name: found[name].mean("all", "value") for name in CONTROLS if name in found}
    return {name: mean.mean for name, mean in own.items() if mean}


def sizes_of(row: Row) -> list[tuple[float, float]]:
    """Radius, mm, and mean probability over seeds; groups of slides are the same for all seeds."""
    each = [[(one["radius"], one["probability"]) for one in result["sizes"]] for result in row.results]
    return [(float(r), float(p)) for r, p in np.mean(each, 0)]
