"""The cost of a run, told before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.jobs import estimate, predict, run
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.viewer.sentences import cost_sentence


def test_the_estimate_counts_what_the_run_encodes(cmu: Path) -> None:
    found = run(estimate(cmu, "demo"))
    prediction = run(predict(cmu, "demo", tissue=found.tissue))
    assert found.patches[0] == prediction.cost.patches[0]
    assert sum(found.patches) >= sum(prediction.cost.patches)  # children off the tissue are not read
    assert found.seconds_per_patch > 0 and found.exhaustive > 0
    assert found.device == "cpu" or found.device.startswith(("cuda", "mps"))


def test_what_is_kept_costs_nothing(cmu: Path) -> None:
    first = run(estimate(cmu, "demo"))
    assert sum(first.taken) == 0
    prediction = run(predict(cmu, "demo", tissue=first.tissue))
    assert sum(prediction.cost.taken) > 0, "patches that were timed"
    found = run(estimate(cmu, "demo"))
    assert found.patches == found.taken == prediction.cost.patches and found.seconds == 0
    assert "of them encoded before" in cost_sentence(found)
    left = np.array([(0, 0), (0, 1110), (2967, 1110), (2967, 0)], float)
    part = run(estimate(cmu, "demo", leave_out=(left,)))
    assert 0 < sum(part.taken) <= sum(part.patches)
    assert part.seconds == part.seconds_per_patch * (sum(part.patches) - sum(part.taken))


def test_regions_change_the_tissue_and_not_what_was_found(cmu: Path) -> None:
    whole = np.array([(0, 0), (0, 2220), (2967, 2220), (2967, 0)], float)
    half = np.array([(0, 0), (0, 2220), (1480, 2220), (1480, 0)], float)
    found = run(estimate(cmu, "demo", add=(whole,), leave_out=(half,)))
    assert found.tissue.share(np.array([(0.0, 0.0)]), (1400, 2220))[0] == 0
    assert found.tissue.share(np.array([(1500.0, 0.0)]), (1400, 2100))[0] > 0.99
    with Slide.open(cmu) as slide:
        detected = run(find_tissue(slide))
    np.testing.assert_array_equal(run(estimate(cmu, "demo")).tissue.mask, detected.mask)


def test_each_model_has_the_tissue_of_its_own_detector(cmu: Path, make_model: Callable[..., str]) -> None:
    with Slide.open(cmu) as slide:
        default = run(estimate(slide, "demo"))
        other = run(estimate(slide, make_model((5.0, 10.0), tissue_detector="gaussian-crc")))
        found = run(find_tissue(slide, "gaussian-crc"))
    assert (default.detector, other.detector) == (DEFAULT, "gaussian-crc")
    np.testing.assert_array_equal(other.tissue.mask, found.mask)
    assert (default.tissue.mask != found.mask).any()


@pytest.mark.parametrize("min_tissue", [0.05, 0.7, 0.95])
def test_it_counts_by_the_same_share_as_the_run(
    cmu: Path, make_model: Callable[..., str], min_tissue: float
) -> None:
    model = make_model((5.0, 10.0), min_tissue=0.3)
    found = run(estimate(cmu, model, min_tissue=min_tissue, batch_size=2))
    prediction = run(predict(cmu, model, min_tissue=min_tissue))
    assert found.patches[0] == prediction.cost.patches[0] == len(prediction.grid.levels[0])
    assert found.exhaustive == (prediction.grid.levels[-1].tissue >= min_tissue).sum()


def test_it_reads_the_same_pixels_as_the_run(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    real = Slide.open
    monkeypatch.setattr(
        Slide, "open", lambda path, mpp=None, icc=False: opened.append(icc) or real(path, mpp, icc)
    )
    run(estimate(data / "slides" / "CMU-1-Small-Region_dicom", icc=True))
    assert opened == [True]


def test_it_takes_what_decides_on_the_patches_of_a_run_and_says_the_same_of_it() -> None:
    own, runs = fields(estimate), fields(predict)
    shared = (
        "model",
        "encoder",
        "store",
        "mpp",
        "icc",
        "min_tissue",
        "magnification",
        "device",
        "batch_size",
        "workers",
        "threads",
    )
    for name in shared:
        assert own[name] == runs[name]
