from __future__ import annotations

import pytest

from napari_zoommil.viewer.layers.writing import Writing


def test_it_is_true_until_the_outermost_ends_however_it_ends() -> None:
    writing = Writing()
    assert not writing
    with pytest.raises(ValueError), writing():
        with writing():
            assert writing
        assert writing
        raise ValueError
    assert not writing
