"""Running targets of early-learning regularisation, per pixel of each window.

A sample is a crop of a window, rotated and flipped at random. The running targets are stored in the
geometry of the window, so that a pixel has the same running target in every sample.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_zoommil.cells.augmentation import Placement
from napari_zoommil.cells.losses.elr import EarlyLearning

NOWHERE = torch.zeros(9, dtype=torch.int64)


def place_of(window: int, corner: tuple[int, int], shape: tuple[int, int], placement: Placement) -> Tensor:
    """Position of a sample, (9,) int64, in a form that can be collated to batches.

    Parameters
    ----------
    window : int
        Index of the window.
    corner, shape : (int, int)
        Corner of the sample in the window, and shape of the window, px.
    placement : Placement
        Rotation and flip of the sample.
    """
    return torch.tensor(
        (window, *corner, *shape, placement.turns, *placement.flips, placement.transposed), dtype=torch.int64
    )


class RunningTargets:
    """Running targets of every pixel of every window, on the CPU in half precision.

    Attributes
    ----------
    windows : dict of int to (C', h, w) float16
        Zero for pixels without earlier predictions, as in the authors' code.
    """

    def __init__(self) -> None:
        self.windows: dict[int, Tensor] = {}

    def refreshed(self, loss: EarlyLearning, logits: Tensor, places: Tensor, margin: int) -> Tensor:
        """Update the running targets with the predictions for a batch.

        Parameters
        ----------
        loss : EarlyLearning
        logits : (B, C, H', W')
        places : (B, 9)
            From :func:`place_of`.
        margin : int
            Pixels at each edge of a sample without output.

        Returns
        -------
        (B, C', H', W') float32
            Running targets in the geometry of the batch.
        """
        rows = zip(logits.detach().float().cpu(), places.tolist(), strict=True)
        return torch.stack([self._one(loss, one, place, margin) for one, place in rows]).to(logits.device)

    def _one(self, loss: EarlyLearning, logits: Tensor, place: list[int], margin: int) -> Tensor:
        window, y, x, height, width, turns, up_down, left_right, transposed = place
        placement = Placement(turns, (bool(up_down), bool(left_right)), bool(transposed))
        said = torch.from_numpy(np.ascontiguousarray(placement.undo(logits.numpy(), (1, 2))))
        channels = 2 if len(said) == 1 else len(said)
        if window not in self.windows:
            self.windows[window] = torch.zeros(channels, height, width, dtype=torch.float16)
        top, left = y + margin, x + margin
        past = self.windows[window][:, top : top + said.shape[1], left : left + said.shape[2]]
        latest = loss.updated(past[None].float(), said[None])[0]
        past.copy_(latest)
        return torch.from_numpy(np.ascontiguousarray(placement.apply(latest.numpy(), (1, 2))))
