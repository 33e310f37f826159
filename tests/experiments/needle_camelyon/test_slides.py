"""Made slides of five centres."""

from __future__ import annotations

from pathlib import Path

from napari_zoommil.experiments.needle_camelyon.slides import MadeSlides, drawn, read_slides


def test_real_slides_have_lesions_and_healthy_ones_none(tmp_path: Path) -> None:
    made = MadeSlides(1, 2048, 0.05, 0.1)
    drawings = [made.drawing(number) for number in range(made.count)]
    assert len({one.texture_seed for one in drawings}) == 5 and all(one.tumour for one in drawings)
    assert [MadeSlides(2).drawing(number).tumour for number in range(4)] == [True, False] * 2
    one = MadeSlides(1, 2048, 0.05, 0.1)
    job = drawn(one, tmp_path)
    next(job)
    job.close()
    stamp = (tmp_path / "slide_0000.npy").stat().st_mtime_ns
    next(drawn(one, tmp_path))
    assert (tmp_path / "slide_0000.npy").stat().st_mtime_ns == stamp
    for number in range(1, 5):
        for ending in ("npy", "json"):
            (tmp_path / f"slide_{number:04d}.{ending}").write_bytes(
                (tmp_path / f"slide_0000.{ending}").read_bytes()
            )
    slides = read_slides(one, tmp_path)
    assert [slide.split for slide in slides] == ["train", "train", "train", "val", "test"]
    first = slides[0]
    assert first.pixels.shape == (256, 256, 3) and first.lesions
    inside = sum(lesion.area for lesion in first.lesions)
    assert 0.005 < inside / 256**2 < 0.12
