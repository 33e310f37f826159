from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from napari_zoommil.training.mil.calibration import temperature


def drawn(count: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs whose probabilities are right if they are divided by ``scale``, and classes drawn by these."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    targets = [rng.choice(3, p=row) for row in softmax(logits, 1)]
    return scale * logits, np.array(targets, float)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_scale_of_many_slides_is_found(scale: float) -> None:
    logits, targets = drawn(4000, scale)
    found = temperature(logits, targets)
    assert found == pytest.approx(scale, rel=0.07)
    places = np.arange(4000), targets.astype(int)
    losses = [-log_softmax(logits / t, 1)[places].mean() for t in (found, found * 1.1, found / 1.1)]
    assert losses[0] == min(losses)


def test_few_slides_move_it_little_and_none_not_at_all() -> None:
    logits, targets = drawn(8, 1.0, 1)
    right = logits.copy()
    right[np.arange(8), targets.astype(int)] += 20
    assert 0.2 < temperature(right, targets) <= 1, "all are right, which is no reason for certainty"
    wrong = logits.copy()
    wrong[np.arange(8), targets.astype(int)] -= 20
    assert 3 < temperature(wrong, targets) <= 20
    assert temperature(np.zeros((0, 3)), np.zeros(0)) == 1
