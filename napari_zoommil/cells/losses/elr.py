"""Early-learning regularisation (Liu et al. 2020): keeps predictions close to those of early training.

The loss is CE + strength · log(1 − ⟨t, p⟩), where t (the running target) is a moving average of the
model's probabilities p for the same sample in earlier epochs. The published method classifies images, with
one t per image; here every pixel or box has its own.

The caller holds t, one array per training sample, and takes three steps per batch, in the authors' order:

1. undo the flips and rotations of the logits, ``t = loss.updated(t, logits)``;
2. store t;
3. flip and rotate t like the batch, ``loss(logits, targets, progress, ensemble=t)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_zoommil.cells.losses.base import Elements, LossOptions, precise
from napari_zoommil.errors import ModelError

MARGIN = 1e-4
"""Probabilities are kept within [MARGIN, 1 − MARGIN], as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class EarlyLearning(LossOptions):
    """Cross-entropy with early-learning regularisation; elements not annotated count as background.

    Parameters
    ----------
    beta : float
        Weight of the old running targets in an update.
    strength : float
        λ, weight of the regularisation.
    """

    beta: float
    strength: float

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        progress: float,
        *,
        ensemble: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss of a batch; ``progress`` and ``generator`` are those of all losses and have no effect.

        Parameters
        ----------
        logits : (B, C, ...)
        targets : (B, ...)
            For C = 1 the shape of the logits is accepted too.
        ensemble : (B, C', ...)
            Running targets from :meth:`updated`, C' = 2 for C = 1 and C otherwise.

        Raises
        ------
        ModelError
            If the shapes do not fit.
        """
        elements, probabilities = Elements.of(logits, targets), _probabilities(logits)
        if ensemble.shape != probabilities.shape or probabilities[:, 0].numel() != targets.numel():
            raise ModelError(
                f"running targets of shape {tuple(ensemble.shape)} do not fit logits of shape "
                f"{tuple(logits.shape)} and targets of shape {tuple(targets.shape)}; "
                f"they need {tuple(probabilities.shape)} and one target per element"
            )
        # Running targets stored in half precision can sum to slightly more than 1.
        agreement = (ensemble.detach() * probabilities).sum(1).clamp(max=1 - MARGIN)
        terms = elements.cross_entropy()
        return self.reduced(terms + self.strength * torch.log1p(-agreement).view_as(terms))

    def updated(self, ensemble: Tensor | None, logits: Tensor) -> Tensor:
        """(B, C', ...) running targets, updated with the logits of one more epoch, without gradient.

        Parameters
        ----------
        ensemble : (B, C', ...), optional
            None in the first epoch, which counts as zeros, as in the authors' code.
        logits : (B, C, ...)
        """
        latest = _probabilities(logits.detach())
        latest = (1 - self.beta) * latest / latest.sum(1, keepdim=True)
        return latest if ensemble is None else self.beta * ensemble + latest


def _probabilities(logits: Tensor) -> Tensor:
    """(B, C', ...) probabilities of a sigmoid (both classes) or of softmax outputs, within the margin."""
    logits = precise(logits)
    if logits.shape[1] == 1:
        probabilities = torch.cat((torch.sigmoid(-logits), torch.sigmoid(logits)), 1)
    else:
        probabilities = logits.softmax(1)
    return probabilities.clamp(MARGIN, 1 - MARGIN)
