"""The curves of a training, from the reports of its job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_zoommil.jobs import Progress, trace
from napari_zoommil.jobs.trace import Follow, Trace
from napari_zoommil.training.fit import FitStep


@pytest.fixture(autouse=True)
def _all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "SECONDS_BETWEEN", 0.0)


def last(follow: Follow, *told: Progress) -> Progress:
    return [report for one in told for report in follow.told(one)][-1]


def fit(steps: Sequence[int], before: int = 0, total: int = 20) -> list[Progress]:
    """A fit of as many batches, which end at these of two steps; a validation at the end of each."""
    epochs = [FitStep(step // 2, 1, step, 2, {"train_loss": 1.0 - step / 4}) for step in steps]
    done = [Progress(before + place, total, "", step) for place, step in enumerate(epochs, 1)]
    validated = FitStep(0, 1, steps[-1], 2, {"train_loss": 0.0}, 1, 1)
    return [*done, Progress(done[-1].done, total, "", validated)]


MEASURED = Progress(0, 1, "measuring")


@pytest.mark.parametrize("steps", [(1,), (1, 2)])
def test_each_fold_has_its_own_curve_however_short(tmp_path: Path, steps: tuple[int, ...]) -> None:
    follow = Follow(tmp_path)
    for _ in range(3):
        shown = last(follow, *fit(steps)).partial
        assert isinstance(shown, Trace) and len(shown.losses) == len(shown.places) == len(steps)
        assert last(follow, MEASURED).partial == shown, "it stays while the model is measured"


def test_batches_of_one_step_are_of_one_curve(tmp_path: Path) -> None:
    shown = last(Follow(tmp_path), *fit((0, 0, 1, 1, 2))).partial
    assert shown.places == (0, 0, 0.5, 0.5, 1)


def test_the_time_left_is_that_of_all_that_was_done(tmp_path: Path, monkeypatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(trace, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    follow = Follow(tmp_path)
    first, *others = fit((0, 0, 0, 1, 1, 1, 2), before=5)
    assert last(follow, first).seconds_left is None
    assert last(follow, *others[:3]).seconds_left == 30 / 3 * 11
    assert last(follow, MEASURED, *fit((1,), before=12)[:1]).seconds_left == 50 / 7 * 7
