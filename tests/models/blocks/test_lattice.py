from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.models.blocks.lattice import as_image, as_rows

PLACES = st.sets(st.tuples(st.integers(0, 9), st.integers(3, 12)), min_size=1).map(sorted)


@given(PLACES, st.integers(1, 4), st.floats(-2, 2, width=32), st.randoms(use_true_random=False))
def test_rows_come_back(places: list[tuple[int, int]], channels: int, fill: float, random) -> None:  # type: ignore[no-untyped-def]
    random.shuffle(places)
    lattice = np.array(places)
    features = torch.randn(len(lattice), channels)
    image, origin = as_image(features, lattice, fill)
    assert origin == tuple(lattice.min(0))
    assert image.shape == (channels, *(np.ptp(lattice, 0) + 1))
    torch.testing.assert_close(as_rows(image, lattice, origin), features)
    for (row, column), own in zip(places, features, strict=True):
        torch.testing.assert_close(image[:, row - origin[0], column - origin[1]], own)
    empty = image.shape[1] * image.shape[2] - len(lattice)
    covered = torch.zeros(image.shape[1:], dtype=torch.bool)
    covered[tuple((lattice - np.array(origin)).T)] = True
    assert (image[:, ~covered] == fill).all() and int((~covered).sum()) == empty


def test_gradients_reach_the_patches() -> None:
    features = torch.randn(3, 2, requires_grad=True)
    image, origin = as_image(features, np.array([(0, 0), (1, 2), (1, 0)]), 5.0)
    assert image.shape == (2, 2, 3)
    (image * torch.arange(12.0).view(2, 2, 3)).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[0, 6], [5, 11], [3, 9]]
    assert origin == (0, 0)
