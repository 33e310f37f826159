from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.encoders.turned import VARIANTS, turned


def test_eight_views_are_the_ways_to_lay_a_square() -> None:
    patches = np.arange(2 * 9 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    views = [turned(patches, variant) for variant in range(VARIANTS)]
    assert len({view.tobytes() for view in views}) == 8
    np.testing.assert_array_equal(views[0], patches)
    np.testing.assert_array_equal(views[1][0], np.rot90(patches[0]))
    np.testing.assert_array_equal(views[4][1], np.fliplr(patches[1]))
    assert all(view.flags.c_contiguous for view in views)
    with pytest.raises(ValueError, match="variant 8"):
        turned(patches, 8)
