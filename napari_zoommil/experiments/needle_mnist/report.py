"""Tables and figures of ``needle-mnist``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from napari_zoommil.experiments.charts import Line, Panel
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.needle_mnist.findings import LEVELS, findings
from napari_zoommil.experiments.needles.groups import (
    CHANCE,
    Cell,
    alike,
    by_canvas,
    smallest_sets,
    valued,
)
from napari_zoommil.experiments.needles.trials import Extent, Trial
from napari_zoommil.model_card import markdown_table

DASH = "–"

TRIALS = """
Test accuracy of the epoch with the best validation accuracy, in percent, means ± standard deviations over
seeds; chance is 50. A run is *fitted* when more than 99 % of the training images of an epoch were right.
The paper shows these results as figures without numbers; what its text says stands beside ours under
*Findings*. `gaussian` images are noise without anything to find: they can only be memorised.
"""


def markdown(found: Sequence[Cell], extent: Extent, about: str) -> str:
    """The report."""
    base = extent.base
    parts = [f"# needle-mnist\n\n{about}\n{TRIALS}"]
    rows = [[one.statement, one.numbers or DASH, one.verdict] for one in findings(found, base)]
    parts.append(f"## Findings\n\n{markdown_table(('the paper', 'here', 'verdict'), rows)}\n")
    parts.append("## All trials\n\n" + _all(found, base))
    for title, field in (
        ("Receptive field (Fig. 7a)", "field"),
        ("Pooling (Fig. 8a)", "pooling"),
        ("Training images (Figs. 5a, 6a)", "train"),
        ("Filters (Fig. 5b)", "width"),
        ("Share of positive training images (Fig. 12)", "balance"),
        ("Normalisation", "norm"),
    ):
        own = alike(found, base, "canvas", field)
        if len({getattr(cell.trial, field) for cell in own}) > 1:
            parts.append(f"## {title}\n\n{_by_ratio(own, field)}")
    parts.append(_needed(found, base))
    parts.append(_optimisation(found, base))
    return "\n".join(parts)


def _all(found: Sequence[Cell], base: Trial) -> str:
    header = [
        "trial", "object to image, %", "seeds", "test", "validation", "training", "fitted", "epochs to fit",
        "minutes",
    ]  # fmt: skip
    return _table(
        header,
        (
            [
                cell.trial.name(base),
                f"{100 * cell.trial.canvas.ratio:.2g}",
                str(len(cell.runs)),
                *(cell.mean(what).percent() for what in ("test", "val", "train")),
                f"{cell.share_fitted:.0%}",
                f"{fit.mean:.0f}" if (fit := cell.epochs_to_fit) else DASH,
                f"{sum(run.result['seconds'] for run in cell.runs) / 60:.1f}",
            ]
            for cell in found
        ),
    )


def _by_ratio(own: Sequence[Cell], field: str) -> str:
    """A row for each value of a field, a column for each canvas."""
    ratios = list(by_canvas(own))
    values = sorted({getattr(cell.trial, field) for cell in own}, key=lambda one: (isinstance(one, str), one))
    rows = []
    for value in values:
        of_value = {cell.trial.canvas.ratio: cell for cell in own if getattr(cell.trial, field) == value}
        rows.append([str(value), *(_shown(of_value.get(ratio)) for ratio in ratios)])
    return _table([field, *(f"{ratio:.2%}" for ratio in ratios)], rows)


def _needed(found: Sequence[Cell], base: Trial) -> str:
    parts = []
    for pooling in dict.fromkeys(cell.trial.pooling for cell in found):
        sets = smallest_sets(alike(found, replace(base, pooling=pooling), "canvas", "train"), LEVELS)
        if not sets:
            continue
        rows = [[f"{ratio:.2%}", *map(str, own.values())] for ratio, own in sets.items()]
        header = [f"object to image, {pooling}", *(f"{level:.0%}" for level in LEVELS)]
        parts.append(_table(header, rows))
    title = "Smallest training set for a validation accuracy (Figs. 6b and 15)"
    return f"## {title}\n\n" + "\n".join(parts)


def _optimisation(found: Sequence[Cell], base: Trial) -> str:
    own = [
        cell
        for noise in ("digits", "gaussian")
        for cell in alike(found, _with_noise(base, noise), "canvas", "pooling")
    ]
    rows = [
        [
            f"{cell.trial.canvas.ratio:.2%}",
            cell.trial.pooling,
            cell.trial.canvas.noise,
            cell.mean("train").percent(),
            f"{fit.mean:.0f}" if (fit := cell.epochs_to_fit) else "not fitted",
            f"{cell.share_fitted:.0%}",
        ]
        for cell in sorted(own, key=lambda cell: -cell.trial.canvas.ratio)
    ]
    header = ["object to image", "pooling", "images", "training accuracy", "epochs to fit", "fitted runs"]
    return f"## Optimisation (Fig. 9)\n\n{_table(header, rows)}"


def _with_noise(base: Trial, noise: Any) -> Trial:
    return replace(base, canvas=replace(base.canvas, noise=noise))


def panels(found: Sequence[Cell], extent: Extent) -> list[Panel]:
    """A panel for each figure of the paper; chance is a line in each."""
    base = extent.base
    by_size = alike(found, base, "canvas", "train")
    made = [
        _panel("best of each ratio (Fig. 4)", "object to image, %", {"best": found}, _percent_ratio),
        _panel("receptive field (Fig. 7a)", "object to image, %",
               _split(alike(found, base, "canvas", "field"), lambda c: f"{c.trial.field} px"),
               _percent_ratio),
        _panel("pooling (Fig. 8a)", "object to image, %",
               _split(alike(found, base, "canvas", "pooling"), lambda c: c.trial.pooling), _percent_ratio),
        _panel("training images (Fig. 5a)", "training images",
               _split(by_size, lambda c: f"{c.trial.canvas.ratio:.2%}"), lambda c: c.trial.train),
        _panel("filters (Fig. 5b)", "factor",
               _split(alike(found, base, "canvas", "width"), lambda c: f"{c.trial.canvas.ratio:.2%}"),
               lambda c: c.trial.width),
        _panel("positive training images (Fig. 12)", "share",
               _split(alike(found, base, "balance", "pooling"), lambda c: c.trial.pooling),
               lambda c: c.trial.balance),
        _panel("training accuracy of digits and of noise (Fig. 9)", "object to image, %",
               _split([c for n in ("digits", "gaussian")
                       for c in alike(found, _with_noise(base, n), "canvas", "pooling")],
                      lambda c: f"{c.trial.pooling}, {c.trial.canvas.noise}"), _percent_ratio, "train"),
        _panel("normalisation", "object to image, %",
               _split(alike(found, base, "canvas", "norm"), lambda c: f"{c.trial.norm} norm"),
               _percent_ratio),
    ]  # fmt: skip
    return made


def _percent_ratio(cell: Cell) -> float:
    return 100 * cell.trial.canvas.ratio


def _split(own: Iterable[Cell], by: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in own:
        groups.setdefault(by(cell), []).append(cell)
    return groups


def _panel(
    title: str, x: str, groups: dict[str, Sequence[Cell]] | dict[str, list[Cell]],
    place: Callable[[Cell], float], what: str = "test",
) -> Panel:  # fmt: skip
    lines = []
    for name, own in groups.items():
        values = valued((one for one in own if one.trial.canvas.noise == "digits" or what == "train"),
                        place, what)  # fmt: skip
        if values:
            means = list(values.values())
            lines.append(Line(name, list(values), [100 * m.mean for m in means], [100 * m.sd for m in means]))
    places = sorted({at for line in lines for at in line.x}) or [0.0]
    lines.append(Line("chance", places, [100 * CHANCE] * len(places)))
    return Panel(title, x, f"{what} accuracy, %", lines, (40, 102))


def summary(found: Sequence[Cell], extent: Extent) -> dict[str, Any]:
    """For the JSON file."""
    return {
        "findings": [vars(one) for one in findings(found, extent.base)],
        "trials": [
            {
                "name": cell.trial.name(extent.base),
                "ratio": cell.trial.canvas.ratio,
                **{what: cell.mean(what)._asdict() for what in ("test", "val", "train")},
                "test_if_fitted": cell.test_if_fitted._asdict(),
                "share_fitted": cell.share_fitted,
                "epochs_to_fit": fit._asdict() if (fit := cell.epochs_to_fit) else None,
            }
            for cell in found
        ],
    }


def _shown(cell: Cell | None) -> str:
    mean: Mean | None = cell.mean() if cell else None
    return mean.percent() if mean else DASH


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table(header, rows) + "\n"
