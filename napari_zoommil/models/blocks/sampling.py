"""Random choice of patches in training."""

from __future__ import annotations

import numpy as np
import torch

from napari_zoommil.geometry import Rows


def fixed_sample(count: int, sampled: int | None) -> Rows:
    """Rows of ``sampled`` patches, ascending, or of all: the same for each slide with as many patches."""
    if sampled is None or sampled >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).permutation(count)[:sampled])


def drawn(count: int, sampled: int | None, training: bool) -> Rows:
    """Rows of a pass, ascending: all but in training, where ``sampled`` of them are drawn at random.

    Parameters
    ----------
    count : int
        Patches of the slide.
    sampled : int, optional
    training : bool
    """
    if not training or sampled is None or sampled >= count:
        return np.arange(count)
    return torch.randperm(count)[:sampled].sort().values.numpy()
