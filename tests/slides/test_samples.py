"""Sample slides: written once, downloaded whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_zoommil.errors import SlideError
from napari_zoommil.slides import samples
from napari_zoommil.synthetic import SyntheticSlide


def test_the_synthetic_sample_is_written_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(samples, "sample", lambda: SyntheticSlide(5, 1024, texture_px=512))
    first = samples.synthetic_slide(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert samples.synthetic_slide(tmp_path) == first
    assert first.stat().st_mtime_ns == stamp


def test_the_sample_is_large_enough_and_has_a_tumour() -> None:
    recipe = samples.sample()
    assert recipe.size >= 20_000 and recipe.tumour


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(samples, "CMU_1_URL", "http://127.0.0.1:9/CMU-1.svs")
    with pytest.raises(SlideError, match="could not be downloaded"):
        samples.cmu_1(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_download_is_refused(cmu: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(samples, "CMU_1_URL", cmu.as_uri())
    with pytest.raises(SlideError):
        samples.cmu_1(tmp_path)
