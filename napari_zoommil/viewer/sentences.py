"""Messages for users, as pure functions."""

from __future__ import annotations

import numpy as np

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import Estimate
from napari_zoommil.jobs.prediction import Prediction, StepResult
from napari_zoommil.maps.heatmap import TITLES
from napari_zoommil.slides import Slide

NO_MAPS = "This model does not score patches one by one, so there is no map of them"


def lack_of(slide: Slide | None) -> str:
    """What the user must do before jobs can run on a slide; empty if nothing."""
    if slide is None:
        return "Open a slide first"
    return "" if slide.mpp else "Set the pixel size in the Slide dock first: this slide does not state it"


def cost_sentence(found: Estimate) -> str:
    """``1,234 patches, about 20 s. Without zooming: 5,678 patches, 2 min``."""
    known = f", {sum(found.taken):,} of them encoded before" if sum(found.taken) else ""
    told = f"{sum(found.patches):,} patches{known}, about {duration(found.seconds)}. "
    told += f"Without zooming: {found.exhaustive:,} patches"
    if not found.seconds_per_patch:
        return told
    return f"{told}, {duration(found.exhaustive * found.seconds_per_patch)}"


def duration(seconds: float) -> str:
    """A duration as text."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def patch_scores(prediction: Prediction, y: float, x: float, target: str) -> str:
    """Scores at a level-0 point, one line per magnification; empty outside the tissue.

    ``target`` is the class of the Grad-CAM.
    """
    lines = []
    for step in prediction.steps:
        row = prediction.grid.row_at(step.level, y, x)
        if row is None:
            continue
        name = magnification_name(prediction.grid.levels[step.level].magnification)
        place = np.flatnonzero(step.rows == row)
        told = _scores(prediction, step, int(place[0]), target) if len(place) else "not looked at"
        lines.append(f"{name}  {told}")
    return "\n".join(lines)


def _scores(prediction: Prediction, step: StepResult, place: int, target: str) -> str:
    told = []
    for head, scores in zip(step.heads, step.scores.T, strict=True):
        rank = 1 + int((scores > scores[place]).sum())
        told.append(f"{TITLES.get(head, head)} {scores[place]:+.2f} (no. {rank} of {len(step.rows)})")
    if step.grad_cam is not None:
        told.append(f"{target} {step.grad_cam[prediction.task.names.index(target), place]:+.3g}")
    if step.rows[place] in step.zoomed:
        told.append("zoomed in")
    return " · ".join(told)


def kind_title(kind: str, target: str | None) -> str:
    """``Attention``, ``Zoom attention``, ``Grad-CAM tumour``."""
    title = TITLES.get(kind, kind)
    return " ".join(word for word in (title[0].upper() + title[1:], target) if word)
