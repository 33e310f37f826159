"""Schedules of loss parameters: callables of the progress, 0 at the start and 1 at the end of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]

PAPER_EPOCHS = 300
"""Epochs of the published training (supplement, Table 2)."""


@dataclass(frozen=True)
class SigmoidRise:
    """Increases from about 0 to ``limit``: limit · σ((progress − centre) / width).

    Parameters
    ----------
    limit : float
        Value at the end.
    centre, width : float
        Progress at which half of ``limit`` is reached, and the width of the sigmoid.
    """

    limit: float
    centre: float
    width: float

    def __call__(self, progress: float) -> float:
        # σ(x) = (1 + tanh(x/2)) / 2 does not overflow.
        return self.limit * 0.5 * (1 + math.tanh((progress - self.centre) / self.width / 2))


@dataclass(frozen=True)
class Constant:
    """The same value throughout."""

    value: float

    def __call__(self, progress: float) -> float:
        return self.value


def constant(value: float) -> Schedule:
    """A schedule that is always ``value``."""
    return Constant(value)


PAPER_THRESHOLD = SigmoidRise(0.5, 50 / PAPER_EPOCHS, 10 / PAPER_EPOCHS)
"""Largest confidence at which an element that is not annotated counts as background ("background group
annealing epoch", supplement, Table 2; limit and width from the authors' code)."""

PAPER_SAMPLING = SigmoidRise(0.5, 150 / PAPER_EPOCHS, 10 / PAPER_EPOCHS)
"""Probability that such an element is drawn ("negative sampling annealing epoch")."""
