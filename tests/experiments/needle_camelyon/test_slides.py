"""Made slides of five centres."""

from __future__ import annotations

from napari_zoommil.experiments.needle_camelyon.slides import MadeSlides


def test_centres_have_textures_of_their_own_and_every_other_slide_a_tumour() -> None:
    made = MadeSlides(4, 8_192, 0.0005, 0.05)
    drawings = [made.drawing(number) for number in range(made.count)]
    assert [one.texture_seed for one in drawings] == [centre for centre in range(1, 6) for _ in range(4)]
    assert [one.tumour for one in drawings[:4]] == [True, False] * 2
    assert len({one.seed for one in drawings}) == 20
    shares = [one.tumour_fraction for one in drawings]
    assert made.smallest <= min(shares) < 0.003 and 0.01 < max(shares) <= made.largest
