"""How fast this machine was, kept for later estimates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_zoommil.cells.tiling import CORE_PX
from napari_zoommil.jobs import detect, estimate, predict, run
from napari_zoommil.jobs import pace as paces
from napari_zoommil.jobs.pace import DETECT, Stopwatch, Work, last_pace

WORK = Work("predict", "demo", "auto", 2)


def ran(steps: list[tuple[float, int]], cold: bool = True, loading: float = 3.0, work: Work = WORK) -> None:
    """A run with so many units done at so many seconds after the model was loaded."""
    now = [100.0]
    watch = Stopwatch(work, cold, lambda: now[0])
    now[0] += loading
    watch.loaded()
    for second, units in steps:
        now[0] = 100 + loading + second
        watch.count(units)
    watch.record("cpu")


def test_the_pace_is_that_of_the_last_run_without_its_first_batch() -> None:
    assert last_pace(WORK) is None
    ran([(0, 0), (5, 64), (7, 128), (9, 192)])
    found = last_pace(WORK)
    assert found.seconds == pytest.approx(4 / 128) and found.units == 128 and found.device == "cpu"
    assert found.loading == pytest.approx(3)
    ran([(0, 0), (1, 64), (3, 128)])
    assert last_pace(WORK).seconds == pytest.approx(2 / 64)


def test_a_tiny_run_teaches_nothing() -> None:
    ran([(0, 0), (5, 64)])
    ran([(0, 0), (5, 64), (5.9, 900)])
    ran([(0, 0), (20, 0)])
    assert last_pace(WORK) is None
    ran([(0, 0), (5, 64), (7, 128)])
    ran([(0, 0), (5, 1), (5.5, 2)])
    assert last_pace(WORK).units == 64


def test_loading_is_counted_where_the_model_was_loaded() -> None:
    ran([(0, 0), (1, 64), (3, 128)], cold=False, loading=0.1)
    assert last_pace(WORK).loading == 0
    ran([(0, 0), (1, 64), (3, 128)], loading=4.0)
    ran([(0, 0), (1, 64), (3, 128)], cold=False, loading=0.1)
    assert last_pace(WORK).loading == pytest.approx(4), "of the last time that it was"


def test_each_work_has_its_own() -> None:
    ran([(0, 0), (1, 64), (3, 128)])
    for other in (
        Work(DETECT, "demo", "auto", 2),
        Work("predict", "mine", "auto", 2),
        Work("predict", "demo", "cpu", 2),
        Work("predict", "demo", "auto", 1),
        Work("predict", "demo", "auto", 2, "uni"),
    ):
        assert last_pace(other) is None


def test_the_record_stays_small_and_survives_damage(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paces, "MOST_RECORDS", 3)
    for number in range(5):
        ran([(0, 0), (1, 64), (3, 128)], work=Work("predict", f"slide{number}", "cpu"))
    file = cache.parent / "pace.json"
    text = file.read_text()
    assert len(json.loads(text)) == 3 and "slide" not in text, "names of models may be those of patients"
    assert last_pace(Work("predict", "slide4", "cpu")) and not last_pace(Work("predict", "slide0", "cpu"))
    for damaged in ("no json", "[1]", text.replace("seconds", "other")):
        file.write_text(damaged)
        assert last_pace(Work("predict", "slide4", "cpu")) is None
        ran([(0, 0), (1, 64), (3, 128)])
        assert last_pace(WORK)


def test_a_cache_that_cannot_be_written_to_is_no_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(paces, "cache_folder", lambda: tmp_path / "file")
    ran([(0, 0), (1, 64), (3, 128)])
    assert last_pace(WORK) is None


def test_runs_are_measured_and_estimates_made_from_them(cmu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paces, "LEAST_SECONDS", 0.0)
    trial = run(estimate(cmu, "demo", device="cpu", threads=1))
    assert not trial.last_run
    run(predict(cmu, "demo", device="cpu", threads=1, batch_size=16))
    pace = last_pace(Work("predict", "demo", "cpu", 1))
    left = [(0, 0), (0, 1110), (2967, 1110), (2967, 0)]
    found = run(estimate(cmu, "demo", device="cpu", threads=1, min_tissue=0.01, leave_out=(left,)))
    assert found.last_run == pace.on and found.seconds_per_patch == pace.seconds
    run(detect(cmu, "yollo", regions=[left], device="cpu", threads=1, batch_size=1))
    pace = last_pace(Work(DETECT, "yollo", "cpu", 1))
    assert pace.units >= 8 and pace.seconds > 0


def test_the_pace_of_a_search_is_named_by_the_size_of_its_tiles() -> None:
    assert f"{CORE_PX} px" in DETECT, "records count tiles"
