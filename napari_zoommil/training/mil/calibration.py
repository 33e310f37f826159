"""Temperature scaling: probabilities that are right as often as they say (Guo et al. 2017, sec. 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

SPREAD = 0.5
"""Standard deviation of log T before anything is known. Slides that are all classified correctly would ask
for T = 0, which is to say for certainty."""

LIMIT = np.log(20.0)
"""Of log T on either side."""


def temperature(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """The T of softmax(logits / T) that is most probable for slides that were not trained on.

    Minimises the cross-entropy, summed over the slides, plus (log T)² / (2 · :data:`SPREAD`²), a normal prior
    around 1 that few slides do not outweigh.

    Parameters
    ----------
    logits : (n, C)
    targets : (n,)
        Index of the class of each slide.

    Returns
    -------
    float
        1 of no slides.
    """
    places = np.arange(len(targets)), targets.astype(np.int64)

    def cost(log_t: float) -> float:
        told = log_softmax(logits / np.exp(log_t), axis=1)[places]
        return float(log_t**2 / (2 * SPREAD**2) - told.sum())

    if not len(targets):
        return 1.0
    found = minimize_scalar(cost, bounds=(-LIMIT, LIMIT), method="bounded")
    return round(float(np.exp(found.x)), 4)
