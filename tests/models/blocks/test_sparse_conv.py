"""Sparse convolution against a dense one."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from napari_zoommil.models.blocks.lattice import as_image, as_rows
from napari_zoommil.models.blocks.sparse_conv import SubmanifoldConv, neighbours

SITES = st.sets(st.tuples(st.integers(-5, 5), st.integers(-7, 4)), min_size=1).map(
    lambda sites: np.unique(np.array(sorted(sites)), axis=0)
)


@given(SITES)
def test_neighbours_are_those_of_a_dictionary(sites: np.ndarray) -> None:
    known = {tuple(site): place for place, site in enumerate(sites.tolist())}
    expected = [
        [known.get((row + down, column + right), len(sites)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        for row, column in sites.tolist()
    ]
    np.testing.assert_array_equal(neighbours(sites), expected)


@given(SITES)
def test_it_is_a_dense_convolution_read_at_its_sites(sites: np.ndarray) -> None:
    torch.manual_seed(0)
    conv, values = SubmanifoldConv(3, 4).double(), torch.randn(len(sites), 3).double()
    image, origin = as_image(values, sites)
    kernel = conv.weight.permute(2, 0, 1).reshape(4, 3, 3, 3)
    dense = conv2d(image[None], kernel, conv.bias, padding=1)[0]
    found = conv(values, torch.from_numpy(neighbours(sites)))
    torch.testing.assert_close(found, as_rows(dense, sites, origin), atol=1e-12, rtol=1e-12)


def test_on_a_full_lattice_it_is_conv2d() -> None:
    torch.manual_seed(0)
    sites = np.indices((6, 7)).reshape(2, -1).T
    conv, image = SubmanifoldConv(5, 2), torch.randn(5, 6, 7)
    dense = conv2d(image[None], conv.weight.permute(2, 0, 1).reshape(2, 5, 3, 3), conv.bias, padding=1)[0]
    found = conv(image.flatten(1).T, torch.from_numpy(neighbours(sites)))
    torch.testing.assert_close(found, dense.flatten(1).T, atol=1e-5, rtol=1e-5)
