"""Sub-manifold sparse convolution (Graham 2018) of 2-D sites, in plain torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

NEAR = np.indices((3, 3)).reshape(2, -1).T - 1
"""(9, 2) offsets of a 3 × 3 window, raster order."""


def neighbours(sites: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the 3 × 3 neighbours of sites stand among them.

    Parameters
    ----------
    sites : (A, 2) int64
        Rows and columns, unique and in lexicographic order, as of ``numpy.unique(…, axis=0)``.

    Returns
    -------
    (A, 9) int64
        Raster order; A for a neighbour that is not there.
    """
    low = sites.min(0)
    across = int(np.ptp(sites[:, 1])) + 3  # a column of margin on both sides, so that no window wraps round
    keys = (sites - low) @ np.array([across, 1])
    wanted = keys[:, None] + NEAR @ np.array([across, 1])
    found = np.searchsorted(keys, wanted)
    there = keys[np.minimum(found, len(keys) - 1)] == wanted
    return np.where(there, found, len(sites))


class SubmanifoldConv(nn.Module):
    """3 × 3 convolution whose output has the sites of its input; sites that are not there count as zero.

    Parameters
    ----------
    features, channels : int
        Channels of the input and of the output.
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        deviation = math.sqrt(2 / (features * len(NEAR)))  # He 2015, for the ReLU that follows
        self.weight = nn.Parameter(deviation * torch.randn(features, len(NEAR), channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor, near: Tensor) -> Tensor:
        """(A, features) → (A, channels).

        Parameters
        ----------
        values : (A, features)
        near : (A, 9) int64
            As found by :func:`neighbours`.
        """
        # Multiplied before they are gathered: there are fewer output channels than input channels.
        products = torch.einsum("af,fkc->akc", values, self.weight)
        padded = torch.cat([products, products.new_zeros(1, *products.shape[1:])])
        return padded[near, torch.arange(len(NEAR), device=near.device)].sum(1) + self.bias
