"""The next slide is made ready beside the work on the current one."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from napari_zoommil.errors import SlideError
from napari_zoommil.jobs import run
from napari_zoommil.jobs.many_slides import make_ready, with_next_ready
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


def test_tissue_and_first_tiles_are_there(
    make_slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide(tmp_path / "a.tif", (150, 60, 120), seed=13)
    make_ready(path, Event(), magnifications=(10.0,), patch_size=64, min_tissue=0.1)
    with Slide.open(path) as slide:
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
