"""Messages for users, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from napari_zoommil.annotations import Points
from napari_zoommil.annotations.feature import Feature, Kind
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import Estimate
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction import Prediction, StepResult, image_text
from napari_zoommil.jobs.progress import duration
from napari_zoommil.maps.heatmap import kind_of_head, map_title
from napari_zoommil.maps.methods import (
    FREE,
    INSTANCE,
    METHODS,
    ZOOM,
    average_of,
    is_part_of_attention,
    title_of,
    unit_of,
)
from napari_zoommil.maps.scales import times_average
from napari_zoommil.models.task import Classification
from napari_zoommil.slides import Slide

LITTLE = 0.01
"""Logit that moves a probability by a quarter of a per cent at most."""

NO_MAPS = "This model does not score patches one by one: choose a method to explain it"


def lack_of(slide: Slide | None, needs_pixel_size: bool = True) -> str:
    """What the user must do before jobs can run on a slide; empty if nothing."""
    if slide is None:
        return "Open a slide first"
    if slide.mpp or not needs_pixel_size:
        return ""
    return "Set the pixel size in the Slide dock first: this slide does not state it"


def cost_sentence(found: Estimate) -> str:
    """``1,234 patches, about 20 s by the last run. Without zooming: 5,678 patches, 2 min``."""
    if found.image is not None:
        return _capital(image_text(found.image))
    count, pace = sum(found.patches), found.seconds_per_patch
    told = f"{count:,} patches"
    if sum(found.taken):
        told += f", {sum(found.taken):,} of them encoded before"
    if pace:
        source = "by the last run" if found.last_run else "by a first trial"
        told += f", about {duration(found.seconds)} {source}"
    if found.exhaustive <= count:
        return f"{told}. There are no more at the highest magnification: {found.exhaustive:,}"
    whole = f"{found.exhaustive:,} patches" + (f", {duration(found.exhaustive * pace)}" if pace else "")
    return f"{told}. Without zooming: {whole}"


def outcome(prediction: Prediction) -> str:
    """``tumour 0.93``: the most probable class, or the number that was asked for."""
    lines = {name: text for name, _, text in prediction.task.lines(prediction.values)}
    unlike = " (unlike)" if prediction.familiarity.is_unlike else ""
    return f"{prediction.explained} {lines[prediction.explained]}{unlike}"


def patch_scores(
    prediction: Prediction,
    y: float,
    x: float,
    target: str,
    method: str | None = None,
    explanation: Explanation | None = None,
) -> str:
    """What the model makes of a level-0 point, a line for each magnification; empty outside the tissue.

    Such as ``12 times the average attention at 10x (no. 3 of 48); speaks for tumour (leave-one-out +0.12
    logit); zoomed into``.

    Parameters
    ----------
    target : str
        Output to which the scores of ``method`` belong.
    method : str, optional
        Included if the prediction, or ``explanation``, has its scores; by default, the first of
        :data:`~napari_zoommil.maps.methods.FREE` that the model has.
    """
    lines = []
    for step in prediction.steps:
        row = prediction.grid.row_at(step.level, y, x)
        if row is None:
            continue
        name = magnification_name(prediction.grid.levels[step.level].magnification)
        place = np.flatnonzero(step.rows == row)
        if not len(place):
            lines.append(f"Not looked at in {name}")
            continue
        told = [_scores(prediction, step, int(place[0]), name)]
        for one in (method,) if method else FREE:
            value = _explained(prediction, step, int(place[0]), target, one, explanation)
            if value is not None:
                told.append(_effect(prediction, one, target, value))
                break
        if row in step.zoomed:
            told.append("zoomed into")
        lines.append(_capital("; ".join(told)))
    return "\n".join(lines)


def _scores(prediction: Prediction, step: StepResult, place: int, magnification: str) -> str:
    """``12 times the average attention at 10x (no. 4 of 321), zoom attention 3 times``."""
    told: list[str] = []
    for head, scores in zip(step.heads, step.scores.T, strict=True):
        kind, target = kind_of_head(head, prediction.task.names)
        if told and is_part_of_attention(kind):
            continue  # the first head is their mean
        multiple = average_of(kind) == "softmax"
        value = float(times_average(scores, softmax=True)[place]) if multiple else 0.0
        title = map_title(kind, target)
        if not multiple:
            told.append(f"{_signed(scores[place])} {title}")
        else:
            told.append(f"{title} {times(value)}" if told else f"{times(value)} the average {title}")
    first = step.attention
    rank = 1 + int((first > first[place]).sum())
    told[0] += f" at {magnification} (no. {rank} of {len(step.rows)})"
    return ", ".join(told)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")


def times(value: float) -> str:
    """``12 times``, ``0.3 times``; of very small ones ``less than 0.01 times``."""
    if value < 0.01:
        return "less than 0.01 times"
    return f"{value:.0f} times" if value >= 9.5 else f"{value:.2g} times"


def _effect(prediction: Prediction, method: str, target: str, value: float) -> str:
    """``speaks for tumour (leave-one-out +0.12 logit)``, ``saliency tumour 0.3 logit per feature``."""
    entry, unit = METHODS[method], unit_of(method, prediction.task.output_unit)
    if not entry.signed:
        return f"{title_of(method)} {target} {value:.3g} {unit}"
    number = f"{title_of(method)} {_signed(value)} {unit}"
    side = "for" if value > 0 else "against"
    if isinstance(prediction.task, Classification):
        if abs(value) < LITTLE:
            return f"hardly speaks {side} {target}"
        return f"speaks {side} {target} ({number})"
    return f"{'raises' if value > 0 else 'lowers'} {target} ({number})"


def _explained(
    prediction: Prediction,
    step: StepResult,
    place: int,
    target: str,
    method: str,
    explanation: Explanation | None,
) -> float | None:
    index = prediction.task.names.index(target)
    if method in step.explained:
        return float(step.explained[method][index, place])
    for one in explanation.scores if explanation else ():
        found = np.flatnonzero((one.rows == step.rows[place]) & (one.level == step.level))
        if len(found):
            return float(one.values[index, int(found[0])])
    return None


def kind_title(kind: str) -> str:
    """``Attention``, ``Zoom attention``, ``Grad-CAM``."""
    title = title_of(kind)
    return title[0].upper() + title[1:]


def kind_help(kind: str) -> str:
    """Description of a kind of map."""
    if kind in METHODS:
        return METHODS[kind].help
    known = {
        ZOOM: "What the model zooms into.",
        INSTANCE: "What the model makes of each patch alone: its output before the softmax.",
    }
    return known.get(kind, f"The model's own score of patches, {kind}.")


def kind_summary(kind: str) -> str:
    """The same, without what was measured."""
    method = METHODS.get(kind)
    return f"{method.what} {method.caution}".strip() if method else kind_help(kind)


def map_kinds(prediction: Prediction) -> tuple[str, ...]:
    """Kinds of maps to choose from: those of a prediction, then methods that can be computed for its model.

    The first is always available; it is empty if the prediction has no maps.
    """
    there = dict.fromkeys(kind for kind, _ in prediction.kinds) or {"": None}
    known = prediction.familiarity.status == "known"
    computed = [name for name, one in METHODS.items() if one.computed and (known or one.needs != "pixels")]
    return (*there, *(name for name in computed if name not in there))


def map_targets(prediction: Prediction, kind: str) -> tuple[str, ...]:
    """Outputs for which there are maps of a kind."""
    if kind in METHODS and METHODS[kind].computed:
        return prediction.task.names if METHODS[kind].per_output else ()
    return tuple(target for own, target in prediction.kinds if own == kind and target)


def several(count: int, noun: str) -> str:
    """``1 point``, ``1,200 points``, ``2 classes``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def marked(points: Points) -> str:
    """How much is marked on a slide: ``3 points, 2 regions (1 complete)``."""
    return _marked(len(points), len(points.regions), len(points.complete))


def marked_in(features: Iterable[Feature]) -> str:
    """As :func:`marked`, of the features of a file."""
    features = list(features)
    regions = [one for one in features if one.kind is Kind.REGION]
    return _marked(
        sum(len(one.marks) for one in features), len(regions), sum(one.complete for one in regions)
    )


def _marked(points: int, regions: int, complete: int) -> str:
    told = [several(points, "point")]
    if regions:
        told.append(several(regions, "region") + (f" ({complete:,} complete)" if complete else ""))
    return ", ".join(told)
