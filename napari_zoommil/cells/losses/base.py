"""Base classes of the cell losses: shapes, precision, options and the cross-entropy of each element.

An element is a pixel of a dense output or a predicted box. Its target is 0 = not annotated,
1, 2, … = annotated class, or −1 = known background.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_zoommil.errors import ModelError

Reduction = Literal["mean", "none"]
REDUCTIONS = ("mean", "none")


def require(value: str, known: tuple[str, ...], what: str) -> None:
    """Raises ModelError unless ``value`` is one of ``known``."""
    if value not in known:
        raise ModelError(f"there is no {what} {value!r}; choose one of {', '.join(known)}")


def precise(logits: Tensor) -> Tensor:
    """Logits in float32 at least: half precision overflows in losses and in their gradients."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


@dataclass(frozen=True)
class Elements:
    """Scores and targets of a batch; build it with :meth:`of`.

    Parameters
    ----------
    logits : (B, ...) or (B, C, ...) float32 or float64
        Logits of one sigmoid output, or of softmax outputs of which the first is background.
    targets : (B, ...)
    """

    logits: Tensor
    targets: Tensor

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor) -> Elements:
        """Elements of a model's output and targets.

        Parameters
        ----------
        logits : (B, C, ...)
        targets : (B, ...)
            If they have the shape of the logits, every logit is a separate sigmoid output.

        Raises
        ------
        ModelError
            If the shapes do not fit.
        """
        logits = precise(logits)
        if logits.shape == targets.shape:
            return cls(logits, targets)
        if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != targets.shape:
            raise ModelError(
                f"targets of shape {tuple(targets.shape)} do not fit logits of shape {tuple(logits.shape)}; "
                "logits (B, C, ...) take targets (B, ...)"
            )
        return cls(logits[:, 0] if logits.shape[1] == 1 else logits, targets)

    @property
    def single(self) -> bool:
        """Whether there is one sigmoid output per element."""
        return self.logits.ndim == self.targets.ndim

    def cross_entropy(self) -> Tensor:
        """(B, ...) cross-entropy in nats; elements that are not annotated count as background."""
        if self.single:
            labels = (self.targets > 0).to(self.logits)
            return F.binary_cross_entropy_with_logits(self.logits, labels, reduction="none")
        return F.cross_entropy(self.logits, self.targets.clamp(min=0).long(), reduction="none")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Options of every loss.

    Parameters
    ----------
    reduction : {"mean", "none"}
        The mean over *all* elements, including those that contribute 0, as in the authors' code;
        ``none`` returns the (B, ...) terms.
    generator : torch.Generator, optional
        Random generator; torch's default otherwise.

    Raises
    ------
    ModelError
        If an option is unknown.
    """

    reduction: Reduction = "mean"
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        require(self.reduction, REDUCTIONS, "reduction")

    def reduced(self, terms: Tensor) -> Tensor:
        """The terms or their mean, which is 0 if there are none (an image without boxes)."""
        return terms if self.reduction == "none" else terms.sum() / max(1, terms.numel())


@dataclass(frozen=True, kw_only=True)
class Loss(LossOptions, ABC):
    """A loss that depends only on the batch and the progress of the training."""

    def __call__(
        self, logits: Tensor, targets: Tensor, progress: float, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        logits : (B, C, ...)
        targets : (B, ...)
            If they have the shape of the logits, every logit is a separate sigmoid output.
        progress : float
            From 0 at the start of training to 1 at its end.
        generator : torch.Generator, optional
            Used instead of the loss's own.

        Returns
        -------
        () or, without reduction, the shape of the targets; float32 also in mixed precision.

        Raises
        ------
        ModelError
            If the shapes do not fit.
        """
        return self.reduced(self.terms(Elements.of(logits, targets), progress, generator or self.generator))

    @abstractmethod
    def terms(self, elements: Elements, progress: float, generator: torch.Generator | None) -> Tensor:
        """(B, ...) the loss of each element."""
