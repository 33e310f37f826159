from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import JobError
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import read_overview
from napari_zoommil.slides.tissue import DEFAULT_MPP
from napari_zoommil.slides.tissue_published import DETECTORS, GaussianTissueDetector, detector_of

GAUSSIAN = [name for name in DETECTORS if name.startswith("gaussian")]


def overview(shape: tuple[int, int] = (300, 400), radius: float = 40) -> np.ndarray:
    """A pink disc on glass."""
    y, x = np.indices(shape)
    disc = np.hypot(y - 150, x - 200) <= radius
    noise = np.random.default_rng(0).normal(0, 2, (*shape, 3))
    return (np.where(disc[..., None], (200, 120, 170), (243, 243, 243)) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_all_tissue_is_found_and_a_margin_around_it(name: str) -> None:
    rgb = overview()
    found, ours = DETECTORS[name](rgb, DEFAULT_MPP), DETECTORS["contrast"](rgb, DEFAULT_MPP)
    tissue = rgb[..., 1] < 180
    assert found[tissue].mean() > 0.99
    assert found.sum() > ours.sum() > 0, "theirs is the more generous"


def test_margins_are_as_large_as_the_square() -> None:
    rgb = overview()
    small, large = (GaussianTissueDetector(10, kernel)(rgb, DEFAULT_MPP) for kernel in (56, 800))
    rows = [np.flatnonzero(mask[:, 200]) for mask in (small, large)]
    grown = rows[0][0] - rows[1][0]
    assert grown == pytest.approx((800 - 56) / 2 / DEFAULT_MPP, abs=2)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_masks_have_the_size_of_the_overview(name: str) -> None:
    for shape in ((1, 1), (7, 300), (129, 131)):
        assert DETECTORS[name](np.full((*shape, 3), 200, np.uint8), 2.0).shape == shape


def test_a_real_slide(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        rgb = read_overview(slide)
    ours = DETECTORS["contrast"](rgb, DEFAULT_MPP)
    theirs = DETECTORS["gaussian-crc"](rgb, DEFAULT_MPP)
    assert theirs.mean() > 0.9 * ours.mean() and (ours & theirs).sum() > 0.8 * ours.sum()


def test_detectors_are_called_by_name() -> None:
    assert detector_of("gaussian-crc").sigma_um == 80
    with pytest.raises(
        JobError, match="no tissue detector 'otsu'; choose one of contrast, gaussian-camelyon16"
    ):
        detector_of("otsu")
