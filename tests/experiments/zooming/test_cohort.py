"""The plan of the made cohort, and that only missing slides are drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.shipped.nic_encoder import TEST_TEXTURES
from napari_zoommil.experiments.zooming.cohort import LABELS, MadeCohort, made, planned
from napari_zoommil.jobs import run
from napari_zoommil.synthetic import SyntheticSlide
from napari_zoommil.training.mil.cohort import read_cohort

COHORT = MadeCohort(51, 24_576)


def test_every_class_is_split_alike_and_only_tumours_are_planted() -> None:
    slides = list(planned(COHORT))
    assert Counter((one.label, one.split) for one in slides) == {
        (label, split): count for label in LABELS for split, count in (("train", 8), ("val", 3), ("test", 6))
    }
    for one in slides:
        assert one.drawing.tumour == (one.label != "plain") and one.drawing.size == 24_576
        assert 0.01 <= one.drawing.tumour_fraction <= 0.08
        assert one.drawing.tumour_pattern == ("" if one.label == "plain" else one.label)
        assert (one.drawing.texture_seed in TEST_TEXTURES) == (one.split == "test")
    assert len({one.drawing.seed for one in slides}) == 51 and slides == list(planned(COHORT))


def test_slides_that_are_there_are_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def write(slide: SyntheticSlide, path: Path, **_: Any) -> None:
        drawn.append(path.name)
        path.touch()

    monkeypatch.setattr(SyntheticSlide, "write", write)
    monkeypatch.setattr("napari_zoommil.experiments.zooming.cohort.processes", lambda _: 1)
    small = MadeCohort(34, 1024)
    job = made(small, tmp_path)
    for _ in range(3):
        next(job)
    job.close()
    assert len(drawn) == 3
    table = run(made(small, tmp_path))
    assert sorted(drawn) == sorted(one.name for one in planned(small)), "each of them once"
    for other in (replace(small, first_seed=1), replace(small, largest=0.2), replace(small, smallest=0.02)):
        with pytest.raises(JobError, match="another cohort"):
            run(made(other, tmp_path))
    assert [(one.slide.name, one.label, one.split) for one in read_cohort(table)] == [
        (one.name, one.label, one.split) for one in planned(small)
    ]
