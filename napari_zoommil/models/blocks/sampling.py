"""Random choice of patches in training."""

from __future__ import annotations

import numpy as np
import torch

from napari_zoommil.geometry import Rows


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
