"""The scores of the patches under a point, in words: pure functions."""

from __future__ import annotations

import numpy as np

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.prediction import Prediction, StepResult


def patch_readout(prediction: Prediction, y: float, x: float) -> str:
    """What the model saw at a level-0 point, one line per magnification; empty off the tissue."""
    lines = []
    for step in prediction.steps:
        row = prediction.grid.row_at(step.level, y, x)
        if row is None:
            continue
        name = magnification_name(prediction.grid.levels[step.level].magnification)
        place = np.flatnonzero(step.rows == row)
        lines.append(
            f"{name}  {_scores(prediction, step, int(place[0]))}" if len(place) else f"{name}  not looked at"
        )
    return "\n".join(lines)


def _scores(prediction: Prediction, step: StepResult, place: int) -> str:
    value = step.attention[place]
    rank = 1 + int((step.attention > value).sum())
    target = int(np.argmax(prediction.probabilities))
    cam = step.grad_cam[target, place]
    text = f"attention {value:+.2f} (no. {rank} of {len(step.rows)}) · Grad-CAM {cam:+.3g}"
    return text + (" · zoomed in" if step.rows[place] in step.zoomed else "")
