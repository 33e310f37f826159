from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_zoommil.slides.readers.tiff_levels import levels_of
from napari_zoommil.slides.readers.tiles import TiledLevel

Extent = tuple[int, int]


def padded(edge: int, factor: int) -> int:
    return edge if factor == 1 else -(-(edge // factor) // 512) * 512


def downsamples(full: Extent, *shapes: Extent, tile: Extent = (512, 512)) -> list[tuple[float, float]]:
    return [level.downsample for level in levels_of([TiledLevel(one, tile) for one in (full, *shapes)])]


@example(42_967, 42_967, 2)
@example(90_000, 60_000, 3)
@example(90_000, 60_000, 5)
@example(65_473, 65_473, 3)
@given(st.integers(40_000, 100_000), st.integers(40_000, 100_000), st.sampled_from([2, 3, 4, 5]))
def test_a_padded_pyramid_has_its_whole_factors(height: int, width: int, step: int) -> None:
    factors = [step**number for number in range({2: 7, 3: 5}.get(step, 4))]
    shapes = [(padded(height, one), padded(width, one)) for one in factors]
    for found, factor, shape in zip(downsamples(*shapes), factors, shapes, strict=True):
        assert found == pytest.approx((factor, factor), rel=1 / min(shape)), "to a pixel"


@pytest.mark.parametrize("factor", [1.9, 2.0, 3.87, 4.0, 7.5])
@pytest.mark.parametrize("tile", [(256, 256), (8, 1000), (500, 500)], ids=str)
def test_any_other_level_has_the_ratio_of_its_extents(factor: float, tile: Extent) -> None:
    full, small = (40_001, 30_007), (round(40_001 / factor), round(30_007 / factor))
    assert downsamples(full, small, tile=tile)[1] == (full[0] / small[0], full[1] / small[1])


def test_a_power_of_two_that_needs_no_padding_is_not_padded() -> None:
    full, shapes = (8192, 8192), [(8192 // one, 8192 // one) for one in (4, 16, 32)]
    assert downsamples(full, *shapes, tile=(256, 256))[1:] == [(4, 4), (16, 16), (32, 32)], "not 64"


def test_a_level_in_one_tile_goes_on_as_the_others_or_has_the_ratio_of_its_extents() -> None:
    full = (3000, 3000)
    assert downsamples(full, (512, 512))[-1] == pytest.approx((3000 / 512,) * 2), "by 8, or 16, or 32"
    assert downsamples(full, (1536, 1536), (1024, 1024), (512, 512))[-1] == (8, 8)
    by_3 = downsamples(full, (1024, 1024), (512, 512))
    assert by_3[1:] == [(3000 / 1024,) * 2, (3000 / 512,) * 2], "by 3, 4 or 5, and then by many"
