"""How a loss changes in training: plain callables of the progress, 0 at the start and 1 at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]

PAPER_EPOCHS = 300
"""Length of the published training (supplement, Table 2), in which its epochs are counted."""


@dataclass(frozen=True)
class SigmoidRise:
    """Rises from about 0 to ``limit``: limit · σ((progress − centre) / width).

    Parameters
    ----------
    limit : float
        Value at the end.
    centre, width : float
        Progress at which half of it is reached, and how gently.
    """

    limit: float
    centre: float
    width: float

    def __call__(self, progress: float) -> float:
        # σ(x) = (1 + tanh(x/2)) / 2, which overflows for no width.
        return self.limit * 0.5 * (1 + math.tanh((progress - self.centre) / self.width / 2))


@dataclass(frozen=True)
class Constant:
    """The same value throughout."""

    value: float

    def __call__(self, progress: float) -> float:
        return self.value


def constant(value: float) -> Schedule:
    """Switches a schedule off: ``value`` throughout."""
    return Constant(value)


PAPER_THRESHOLD = SigmoidRise(0.5, 50 / PAPER_EPOCHS, 10 / PAPER_EPOCHS)
"""Confidence up to which an element that is not annotated may count as background ("background group
annealing epoch", supplement, Table 2; limit and width from the authors' code)."""

PAPER_SAMPLING = SigmoidRise(0.5, 150 / PAPER_EPOCHS, 10 / PAPER_EPOCHS)
"""Probability that such an element is drawn at all ("negative sampling annealing epoch")."""
