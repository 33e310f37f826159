"""Runs are compared with those that differ in one parameter, and verdicts follow from the numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from napari_zoommil.experiments.data.needle_mnist import Canvas
from napari_zoommil.experiments.needle_mnist.findings import NOT, REPRODUCED, UNDECIDED, findings, verdict
from napari_zoommil.experiments.needles.groups import alike, by_canvas, cells, smallest_sets, valued
from napari_zoommil.experiments.needles.trials import Trial
from napari_zoommil.experiments.trials import Run

LARGE, SMALL = Canvas(32, 2, 14), Canvas(64, 5, 14)
BASE = Trial(LARGE, 17, width=0.25, norm="batch", train=1000)


def run(trial: Trial, test: float, fitted: int | None = None, seed: int = 0, val: float | None = None) -> Run:
    return Run(
        trial, seed, {"test": test, "val": test if val is None else val, "train": 0.9, "fitted": fitted}
    )


def test_runs_of_a_trial_are_one_cell() -> None:
    own = cells([run(BASE, 0.8, 4), run(BASE, 0.9, None, 1), run(replace(BASE, field=5), 0.7)])
    assert [len(cell.runs) for cell in own] == [2, 1]
    first = own[0]
    assert first.mean().mean == pytest.approx(0.85) and first.share_fitted == 0.5
    assert first.test_if_fitted.mean == pytest.approx((0.8 + 0.5) / 2)
    assert first.epochs_to_fit is not None and first.epochs_to_fit.mean == 4
    assert own[1].epochs_to_fit is None


def test_only_what_may_differ_differs() -> None:
    noisy = replace(BASE, canvas=Canvas(32, 2, 14, "gaussian"))
    trials = [
        BASE,
        replace(BASE, field=5),
        replace(BASE, canvas=SMALL),
        replace(BASE, canvas=SMALL, field=5),
        noisy,
    ]
    own = cells([run(trial, 0.8) for trial in trials])
    assert [cell.trial for cell in alike(own, BASE, "field")] == trials[:2]
    assert [cell.trial for cell in alike(own, BASE, "canvas", "field")] == trials[:4]
    assert [cell.trial for cell in alike(own, noisy, "canvas")] == [noisy]
    assert [len(group) for group in by_canvas(own[:4]).values()] == [2, 2]
    assert list(by_canvas(own)) == [LARGE.ratio, SMALL.ratio]


def test_the_smallest_set_that_reaches_a_level() -> None:
    sizes = {500: 0.6, 1000: 0.75, 2000: 0.92}
    own = cells([run(replace(BASE, train=size), 0.1, val=value) for size, value in sizes.items()])
    (found,) = smallest_sets(own, (0.55, 0.7, 0.9, 0.95)).values()
    assert found == {0.55: (0, 500), 0.7: (500, 1000), 0.9: (1000, 2000), 0.95: (2000, math.inf)}
    assert [*map(str, found.values())] == ["at most 500", "1,000", "2,000", "more than 2,000"]


def test_the_best_by_validation_is_shown() -> None:
    own = cells([run(BASE, 0.7, val=0.9), run(replace(BASE, pooling="mean"), 0.8, val=0.6)])
    assert {key: mean.mean for key, mean in valued(own, lambda cell: cell.trial.field).items()} == {17: 0.7}


@pytest.mark.parametrize(
    ("difference", "kind"), [(0.1, REPRODUCED), (-0.1, NOT), (0.02, UNDECIDED), (None, UNDECIDED)]
)
def test_verdicts(difference: float | None, kind: str) -> None:
    assert verdict(difference) == kind


def test_findings_follow_the_numbers() -> None:
    def told(**values: float) -> list[str]:
        trials = {
            "base": BASE, "few": replace(BASE, train=100), "wide": replace(BASE, width=1.0),
            "narrow": replace(BASE, field=5), "between": replace(BASE, field=9),
            "mean": replace(BASE, pooling="mean"),
            "small": replace(BASE, canvas=SMALL), "small_few": replace(BASE, canvas=SMALL, train=100),
            "small_mean": replace(BASE, canvas=SMALL, pooling="mean"),
        }  # fmt: skip
        return [one.verdict for one in findings(cells([run(trials[n], v) for n, v in values.items()]), BASE)]

    as_published = {
        "base": 0.85, "few": 0.72, "wide": 0.92, "narrow": 0.7, "mean": 0.86, "small": 0.75,
        "small_few": 0.55, "small_mean": 0.6,
    }  # fmt: skip
    assert told(**as_published) == [REPRODUCED] * 4
    assert told(**(as_published | {"wide": 0.7}))[1] == NOT
    assert told(**(as_published | {"narrow": 0.95}))[2] == NOT
    both = told(**(as_published | {"between": 0.86}))[2]
    assert both == f"than 5 px: {REPRODUCED}; than 9 px: {UNDECIDED}", "both are smaller than a digit"
    large, small = "little where it is large", "max where it is small"
    assert told(**(as_published | {"mean": 0.7}))[3] == f"{large}: {NOT}; {small}: {REPRODUCED}"
    within = told(**(as_published | {"small_mean": 0.73}))[3]
    assert within == f"{large}: {REPRODUCED}; {small}: {UNDECIDED}", "within the margin"
    assert told(**(as_published | {"small_mean": 0.85}))[3] == f"{large}: {REPRODUCED}; {small}: {NOT}"
    trials = [replace(BASE, canvas=SMALL, pooling=name) for name in ("mean", "lse")]
    own = [run(BASE, 0.85), run(replace(BASE, pooling="mean"), 0.86), *(run(one, 0.75) for one in trials)]
    assert findings(cells(own), BASE)[3].verdict == f"{large}: {REPRODUCED}; {small}: {UNDECIDED}", (
        "max is missing on the small object"
    )
    more, smaller = "more images", "more where it is smaller"
    assert told(**(as_published | {"small_few": 0.8}))[0].startswith(f"{more}: {NOT}; ")
    easier = told(**(as_published | {"small": 0.88, "small_few": 0.8, "few": 0.65}))[0]
    assert easier == f"{more}: {REPRODUCED}; {smaller}: {NOT}"
    alike_here = told(**(as_published | {"small": 0.85, "small_few": 0.72}))[0]
    assert alike_here == f"{more}: {REPRODUCED}; {smaller}: {UNDECIDED}"
    assert told(base=0.85) == [UNDECIDED] * 4
    assert told(**dict.fromkeys(as_published, 0.5)) == [UNDECIDED] * 4, "nothing was learnt"
