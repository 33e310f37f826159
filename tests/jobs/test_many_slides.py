"""The next slide is made ready beside the work on the current one."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from napari_zoommil import encoders
from napari_zoommil.errors import EncoderError, JobError, SlideError
from napari_zoommil.jobs import Job, Progress, embed, many_slides, predict, run
from napari_zoommil.jobs.kept import release
from napari_zoommil.jobs.many_slides import make_ready, over, with_next_ready
from napari_zoommil.jobs.outcomes import Outcome, results_of
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid, read_patch

PATHS = [Path(name) for name in "abc"]


def test_each_is_ready_when_its_turn_comes() -> None:
    begun: list[str] = []
    turns = []
    with closing(with_next_ready(PATHS, lambda path, stop: begun.append(path.name))) as slides:
        for path in slides:
            turns.append((path.name, list(begun)))
    assert turns[0][0] == "a" and "c" not in turns[0][1]
    assert turns[1] == ("b", ["b"]) or turns[1] == ("b", ["b", "c"])
    assert turns[2] == ("c", ["b", "c"])


def test_it_runs_beside_the_work_and_one_slide_ahead_only() -> None:
    entered, release = Event(), Event()

    def prepare(path: Path, stop: Event) -> None:
        entered.set()
        release.wait(10)

    with closing(with_next_ready(PATHS, prepare)) as slides:
        assert next(slides).name == "a"
        assert entered.wait(10)  # while "a" is still being worked on
        release.set()
        assert next(slides).name == "b"


def test_what_fails_ahead_is_no_error_yet() -> None:
    def prepare(path: Path, stop: Event) -> None:
        raise SlideError(f"{path} is broken")

    assert [path.name for path in with_next_ready(PATHS, prepare)] == ["a", "b", "c"]


def test_leaving_early_stops_the_preparation() -> None:
    def prepare(path: Path, stop: Event) -> None:
        assert stop.wait(10)

    slides = with_next_ready(PATHS, prepare)
    next(slides)
    slides.close()
    assert not any(thread.name.startswith("next-slide") for thread in threading.enumerate())


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_what_was_made_ready_is_open_for_its_turn_and_no_longer(
    make_slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    paths = [make_slide(tmp_path / f"{name}.tif", (150, 60, 120), 128) for name in "abc"]
    opened: list[str] = []
    real = Slide.close
    monkeypatch.setattr(Slide, "close", lambda slide: (opened.remove(slide.name), real(slide))[1])

    def prepare(path: Path, stop: Event) -> Slide:
        opened.append(path.name)
        return Slide.open(path)

    with closing(with_next_ready(paths, prepare)) as slides:
        for number, path in enumerate(slides):
            assert number == 0 or path.name in opened
            assert not [name for name in opened if name < path.name]
            if number == turns:
                break
    assert opened == []


def test_tissue_and_first_tiles_are_there(
    make_slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide(tmp_path / "a.tif", (150, 60, 120), seed=13)
    ready = make_ready(path, Event(), magnifications=(10.0,), patch_size=64, min_tissue=0.1)
    assert ready is not None
    with ready, Slide.open(path) as slide:
        seen: list[str] = []
        tissue = run(find_tissue(slide), lambda progress: seen.append(progress.note))
        assert seen == []
        grid = patch_grid(slide, tissue, (10.0,), 64, 0.1)
        monkeypatch.setattr(slide._reader, "_decode", lambda *_: pytest.fail("decoded again"))
        monkeypatch.setattr(slide._reader._image, "_decode", lambda *_: pytest.fail("decoded again"))
        assert read_patch(slide, grid, 0, 0).shape == (64, 64, 3)


def test_a_stop_is_heeded_at_once(make_slide, tmp_path: Path) -> None:
    path = make_slide(tmp_path / "a.tif", (150, 60, 120), seed=14)
    stop = Event()
    stop.set()
    make_ready(path, stop, magnifications=(10.0,), patch_size=64, min_tissue=0.1)
    with Slide.open(path) as slide:
        assert list(find_tissue(slide)) != []  # nothing was looked for


def counting(slide: Path, *, steps: int = 4) -> Job[str]:
    """Fails on slides that are called bad."""
    for done in range(steps):
        yield Progress(done, steps, f"step {done}", seconds_left=9.0)
        if slide.stem == "bad":
            raise SlideError(f"{slide.name} is broken")
    return slide.stem.upper()


def test_a_bad_slide_stops_no_others() -> None:
    outcomes = run(over(counting, ["a.svs", "bad.svs", Path("c.svs")]))
    assert [outcome.slide.name for outcome in outcomes] == ["a.svs", "bad.svs", "c.svs"]
    assert [outcome.result for outcome in outcomes] == ["A", None, "C"]
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == ["bad.svs is broken"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("out of memory")])
def test_what_fails_in_keeping_a_result_is_of_that_slide(error: Exception) -> None:
    def then(slide: Path, result: str) -> int:
        if slide.stem == "a":
            raise error
        return len(result)

    first, second = run(over(counting, ["a.svs", "bcd.svs"], then=then))
    assert (first.error, first.result) == (error, None)
    assert (second.error, second.result) == (None, 3)


@pytest.mark.parametrize("error", [TypeError("a fault of ours"), EncoderError("there is no encoder 'x'")])
def test_what_is_no_fault_of_a_slide_ends_the_job(error: Exception) -> None:
    def job(slide: Path) -> Job[None]:
        yield Progress(0, 1, "")
        raise error

    with pytest.raises(type(error), match=str(error)):
        run(over(job, PATHS))


def test_the_progress_is_over_all_slides() -> None:
    seen: list[Progress] = []
    run(over(counting, ["a.svs", "bad.svs", "c.svs"]), seen.append)
    assert [progress.note for progress in seen] == [
        *(f"slide 1 of 3: step {n}" for n in range(4)),
        "slide 1 of 3: done",
        "slide 2 of 3: step 0",
        "slide 2 of 3: failed",
        *(f"slide 3 of 3: step {n}" for n in range(4)),
        "slide 3 of 3: done",
    ]
    shares = [progress.done / progress.total for progress in seen]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert shares[4] == pytest.approx(1 / 3) and shares[2] == pytest.approx(1 / 6, abs=1e-3)
    assert {progress.seconds_left for progress in seen} == {None}
    told = [progress.partial for progress in seen if isinstance(progress.partial, Outcome)]
    assert [outcome.slide.stem for outcome in told] == ["a", "bad", "c"]


def test_a_single_slide_is_told_as_it_is() -> None:
    seen: list[Progress] = []
    run(over(counting, ["a.svs"]), seen.append)
    assert [progress.note for progress in seen] == [*(f"step {n}" for n in range(4)), "done"]
    assert (seen[1].done, seen[1].total, seen[1].seconds_left) == (1, 4, 9.0)


def test_no_slides_are_no_outcomes() -> None:
    assert run(over(counting, [])) == ()


def test_closing_it_closes_the_job_at_once() -> None:
    closed: list[Path] = []

    def job(slide: Path) -> Job[None]:
        try:
            while True:
                yield Progress(0, 0, "")
        finally:
            closed.append(slide)

    many = over(job, PATHS)
    next(many)
    many.close()
    assert closed == PATHS[:1]
    assert not any(thread.name.startswith("next-slide") for thread in threading.enumerate())


def test_all_results_or_the_errors() -> None:
    assert results_of(run(over(counting, ["a.svs", "b.svs"]))) == ("A", "B")
    with pytest.raises(SlideError, match=r"bad\.svs is broken"):
        results_of(run(over(counting, ["bad.svs", "b.svs"])))
    with pytest.raises(JobError, match=r"2 of 3 .* failed: bad\.svs: bad\.svs is broken; bad\.tif: bad\.tif"):
        results_of(run(over(counting, ["bad.svs", "b.svs", "bad.tif"])))


@pytest.mark.parametrize("job", ["embed", "predict"])
def test_the_next_slide_is_ready_for_the_job(
    make_slide, make_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    paths = [make_slide(tmp_path / f"{n}.tif", (150, 60, 120), 256, seed=30 + n) for n in range(3)]
    model = make_model((5.0, 10.0), patch_size=32, min_tissue=0.25)
    reading = {"magnifications": (5.0, 10.0), "patch_size": 32, "min_tissue": 0.25}
    others = {"overlap": 0.0, "tissue_detector": "contrast"}
    jobs = {
        "embed": partial(embed, encoder="mean-rgb", store=tmp_path / "store", **reading),
        "predict": partial(predict, model=model),
    }
    asked: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(many_slides, "make_ready", lambda path, stop, **how: asked.append((path, how)))
    results_of(run(over(jobs[job], paths)))
    store = {"embed": tmp_path / "store", "predict": None}[job]
    reading |= {"mpp": None, "icc": False, "store": store}
    assert asked == [(path, reading | others) for path in paths[1:]]


def test_a_job_that_reads_no_patches_prepares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_slides, "make_ready", lambda *_, **__: pytest.fail("prepared"))
    run(over(counting, PATHS))


def test_an_encoder_is_loaded_once(make_slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    real = encoders.load_encoder
    monkeypatch.setattr(
        encoders, "load_encoder", lambda name, expected: loaded.append(name) or real(name, expected)
    )
    release()
    paths = [make_slide(tmp_path / f"{n}.tif", (150, 60, 120), 256, seed=n) for n in range(4)]
    job = partial(embed, encoder="mean-rgb", magnifications=(10.0,), patch_size=32, store=tmp_path / "store")
    results_of(run(over(job, paths)))
    assert loaded == ["mean-rgb"]
