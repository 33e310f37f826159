"""What was measured of a model before and after its fine-tuning, and whether it became worse: one place for
the dock, the command and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BEFORE = "before_"
"""What the names of metrics of the initial model begin with."""

TITLES = {
    "exclusive_recall": "annotated cells found",
    "f1_complete": "F1 in complete regions",
    "predictions_per_mm2": "detections per mm²",
    "score_threshold": "score threshold",
}
ATTENTION, PROBABILITY = "attention_on_points_", "probability_"
"""What metrics of a MIL model begin with; a magnification, or a class, follows."""

PARTS = ("/cells", "/low", "/high")
"""What the names of the circumstances of a share end with."""

JUDGED = ("f1_complete", "exclusive_recall")
"""Metrics of which less is worse, the more telling one first."""

MANY_TIMES = 1.5
"""How many times as many detections, or as few, are worth a word."""

FEW_CELLS = 30
"""Annotated cells below which an interval is too wide to judge by: ± 18 % at a recall of one half."""

WHAT_HELPS = (
    "What helps: more points of each class, from all over the slide, and a complete region, in which every "
    "cell is annotated"
)


@dataclass(frozen=True)
class Figure:
    """A metric before and after.

    Attributes
    ----------
    name : str
        Such as ``exclusive_recall`` or, of a class, ``exclusive_recall:lymphocyte``.
    before : float or None
        None of a class that the initial model does not know.
    after : float
    cells : int or None
        Annotated cells that a share rests on.
    low, high : float or None
        95 % confidence interval of ``after``.
    """

    name: str
    before: float | None
    after: float
    cells: int | None = None
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """Such as ``annotated cells found`` or, of a class, ``… as lymphocyte``."""
        name, (metric, _, of) = self.name, self.name.partition(":")
        if of and metric in JUDGED:
            return f"… as {of}" if metric == "exclusive_recall" else f"{TITLES[metric]}, {of}"
        if name.startswith(ATTENTION):
            return f"attention at {name.removeprefix(ATTENTION)}"
        if name.startswith(PROBABILITY):
            return f"probability of {name.removeprefix(PROBABILITY)}"
        return TITLES.get(name, name.replace("_", " "))

    @property
    def is_worse(self) -> bool:
        return self.name in JUDGED and self.before is not None and self.after < self.before


def figures(metrics: Mapping[str, float]) -> list[Figure]:
    """The metrics that were measured after a fine-tuning and, except of classes, before it.

    Shares of no annotated cell are none.

    Parameters
    ----------
    metrics : mapping of str to float
        As of :class:`napari_zoommil.jobs.finetuning.FineTuning`.
    """
    found = []
    for name, after in metrics.items():
        before = metrics.get(f"{BEFORE}{name}")
        is_of_class = name.partition(":")[0] in JUDGED and ":" in name
        if name.startswith(BEFORE) or name.endswith(PARTS) or (before is None and not is_of_class):
            continue
        cells, low, high = (metrics.get(f"{name}{part}") for part in PARTS)
        if cells == 0:
            continue  # a share of nothing
        found.append(Figure(name, before, after, None if cells is None else round(cells), low, high))
    return found


def is_worse(metrics: Mapping[str, float]) -> bool:
    """Whether the most telling metric that there is fell."""
    known = {one.name: one for one in figures(metrics)}
    return next((known[name].is_worse for name in JUDGED if name in known), False)


def verdict(metrics: Mapping[str, float]) -> str:
    """What speaks against a fine-tuned cell model, as sentences; empty if nothing does."""
    known = {one.name: one for one in figures(metrics)}
    judged = next((known[name] for name in JUDGED if name in known), None)
    said = []
    if judged is not None and judged.is_worse:
        said.append(f"It became worse: {_compared(judged)}. {WHAT_HELPS}.")
    elif judged is not None and judged.cells is not None and judged.cells < FEW_CELLS:
        said.append(f"That rests on {judged.cells} annotated cells only. {WHAT_HELPS}.")
    dense = known.get("predictions_per_mm2")
    if dense is not None and dense.before and dense.after:
        times = dense.after / dense.before
        if not 1 / MANY_TIMES < times < MANY_TIMES:
            many = f"{times:.1f}" if times > 1 else f"{times:.2f}"
            said.append(f"It finds {many} times as many cells as before: look at before and after.")
    return " ".join(said)


def _compared(one: Figure) -> str:
    """``annotated cells found 0.71 → 0.57 (of 7; 95 % interval 0.25 to 0.84)``."""
    assert one.before is not None
    text = f"{one.title} {one.before:.2f} → {one.after:.2f}"
    if one.cells is None or one.low is None or one.high is None:
        return text
    chance = ", so that this may be chance" if one.low <= one.before <= one.high else ""
    return f"{text} (of {one.cells}; 95 % interval {one.low:.2f} to {one.high:.2f}{chance})"


def figure_text(name: str, value: float) -> str:
    """To two decimals, and whole from ten on; a share of the attention in per cent."""
    if name.startswith(ATTENTION):
        return f"{value:.1%}".replace("%", "\u202f%")
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"
