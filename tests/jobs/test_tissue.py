"""Tissue is looked for once per slide, whichever job asks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import MissingResolutionError
from napari_zoommil.jobs import run
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue


def notes(slide: Slide) -> list[str]:
    seen: list[str] = []
    run(find_tissue(slide), lambda progress: seen.append(progress.note))
    return seen


def test_the_second_job_finds_it_known(make_slide, tmp_path: Path) -> None:
    path = make_slide(tmp_path / "a.tif", (150, 60, 120), seed=11)
    with Slide.open(path) as slide:
        assert set(notes(slide)) == {"detecting tissue"}
        assert np.array_equal(run(find_tissue(slide)).mask, detect_tissue(slide).mask)
    copy = shutil.copyfile(path, tmp_path / "b.tif")
    with Slide.open(copy) as slide:
        assert notes(slide) == []  # the same pixels under another name
    with Slide.open(copy, mpp=2.0) as slide:
        assert notes(slide) != []  # at another scale it is another mask


def test_a_slide_without_a_resolution_is_refused(data: Path) -> None:
    with Slide.open(data / "slides" / "yb10kx5k.zstd.tiff") as slide, pytest.raises(MissingResolutionError):
        run(find_tissue(slide))


def test_a_look_that_is_broken_off_leaves_nothing_behind(make_slide, tmp_path: Path) -> None:
    with Slide.open(make_slide(tmp_path / "a.tif", (150, 60, 120), seed=12)) as slide:
        job = find_tissue(slide)
        next(job)
        job.close()
        assert notes(slide) != []
