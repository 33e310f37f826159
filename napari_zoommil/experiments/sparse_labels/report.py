"""Tables and figures of the experiment ``sparse-labels``, compared with those of the paper."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from napari_zoommil.experiments.charts import Line, Panel, write_svg
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.published import ECE_DETECTION, ECE_SEGMENTATION
from napari_zoommil.model_card import markdown_table

POINTS = {"half": "at 0.5", "chosen": "at the validation's best", "oracle": "at the test's best"}
MAIN_METRIC = {"unet": "dice", "yollo": "f1"}
TITLES = {
    "threshold": "Threshold",
    "dice": "Dice",
    "aji": "AJI",
    "f1": "F1 (IoU 0.5, NMS 0.2)",
    "exclusive_recall": "Exclusive recall (validation tiles)",
    "predictions_per_mm2": "Predictions per mm² (validation tiles)",
}
DIGITS = {"predictions_per_mm2": 0}
NOTES = """
Means ± standard deviations over seeds. A seed determines weights, order, augmentation and the annotated
nuclei; the splits are fixed. Validation tiles are annotated as sparsely as training tiles, test tiles
completely.
*At 0.5*: without calibration. *At the validation's best*: the threshold of the best Dice (U-Net) or F1
(YOLLO) on the sparse validation labels. *At the test's best*: perfect calibration, which is not possible in
practice; the control for losses that only improve calibration.
"""


Summary = dict[str, dict[str, dict[int, dict[str, dict[str, Mean]]]]]
"""Model → setting → percent → metric → operating point."""


def summarise(trials: Iterable[dict[str, Any]]) -> Summary:
    """Results of trials, aggregated over seeds."""
    values: dict[tuple[str, str, int, str, str], list[float]] = defaultdict(list)
    for trial in trials:
        for metric, points in trial["scores"].items():
            for point, value in points.items():
                values[trial["model"], trial["setting"], trial["percent"], metric, point].append(value)
    summary: Summary = {}
    for (model, setting, percent, metric, point), found in values.items():
        by_metric = summary.setdefault(model, {}).setdefault(setting, {}).setdefault(percent, {})
        by_metric.setdefault(metric, {})[point] = Mean.of(found)
    return summary


def markdown(summary: Summary, about: str) -> str:
    """The report.

    Parameters
    ----------
    summary : Summary
    about : str
        A sentence on data and extent.
    """
    parts = [f"# sparse-labels\n\n{about}\n{NOTES}"]
    for model, settings in summary.items():
        percents = sorted({percent for by_percent in settings.values() for percent in by_percent})
        metrics = list(next(iter(next(iter(settings.values())).values())))
        parts += [_own_table(model, metric, settings, percents) for metric in metrics]
        parts += [_against_controls(model, settings, percents)]
    return "\n".join([*parts, _paper_tables(summary)])


def _own_table(model: str, metric: str, settings: dict[str, Any], percents: Sequence[int]) -> str:
    header = ["loss", *(f"{percent} % {words}" for percent in percents for words in POINTS.values())]
    rows = [
        [
            setting,
            *(
                _shown(metric, by_percent.get(percent, {}).get(metric, {}).get(point))
                for percent in percents
                for point in POINTS
            ),
        ]
        for setting, by_percent in settings.items()
    ]
    return f"## {model}: {TITLES[metric]}\n\n{markdown_table(header, rows)}\n"


CONTROLS = (("ce", "half"), ("weighted-ce", "half"), ("ce", "chosen"), ("ce", "oracle"))
"""Controls for exclusivity: cross-entropy, weighted cross-entropy, and calibrated cross-entropy."""


def _against_controls(model: str, settings: dict[str, Any], percents: Sequence[int]) -> str:
    """Differences of the mean main metric: exclusive cross-entropy at 0.5 minus each control."""
    metric = MAIN_METRIC[model]
    rows = []
    for setting, percent in product((name for name in settings if name.startswith("ece")), percents):
        own = settings[setting].get(percent)
        if own is None:
            continue
        row = [setting, f"{percent} %"]
        for name, point in CONTROLS:
            control = settings.get(name, {}).get(percent)
            gain = own[metric]["half"].mean - control[metric][point].mean if control else None
            row.append("–" if gain is None else f"{gain:+.3f}")
        rows.append(row)
    header = ["loss at 0.5", "labels", *(f"less {name} {POINTS[point]}" for name, point in CONTROLS)]
    title = TITLES[metric].split(" (")[0]
    return f"## {model}: what exclusivity gains in {title}\n\n{markdown_table(header, rows)}\n"


def _shown(metric: str, value: Mean | None) -> str:
    if value is None:
        return "–"
    digits = DIGITS.get(metric, 3)
    spread = f" ± {value.sd:.{digits}f}" if value.seeds > 1 else ""
    return f"{value.mean:.{digits}f}{spread}"


def _paper_tables(summary: Summary) -> str:
    """Published results, and ours at 0.5 below them."""
    parts = []
    published: dict[str, dict[str, dict[str, dict[int, float]]]] = {
        f"Table 3: {name}": {
            data: {
                loss: {percent: pair[which] for percent, pair in row.items()} for loss, row in rows.items()
            }
            for data, rows in ECE_SEGMENTATION.items()
        }
        for which, name in enumerate(("Dice", "AJI"))
    } | {"Table 4: F1": ECE_DETECTION}
    for (title, sets), (model, metric) in zip(
        published.items(), (("unet", "dice"), ("unet", "aji"), ("yollo", "f1")), strict=True
    ):
        ours = {
            setting: {percent: scores[metric]["half"] for percent, scores in by_percent.items()}
            for setting, by_percent in summary.get(model, {}).items()
        }
        known = {percent for rows in sets.values() for row in rows.values() for percent in row}
        percents = sorted(known | {percent for row in ours.values() for percent in row})
        rows = [
            [data, loss, *(f"{row[percent]:.2f}" if percent in row else "–" for percent in percents)]
            for data, by_loss in sets.items()
            for loss, row in by_loss.items()
        ]
        rows += [
            ["here", loss, *(_shown(metric, row.get(percent)) for percent in percents)]
            for loss, row in ours.items()
        ]
        header = ["data", "loss", *(f"{percent} %" for percent in percents)]
        parts.append(f"## Supplement, {title}, and ours\n\n{markdown_table(header, rows)}\n")
    return "\n".join(parts)


def write_figure(path: Path, summary: Summary) -> None:
    """The main metric as a function of the share of labels, at 0.5 and at the other thresholds."""
    panels = [
        Panel(
            f"{model}, threshold: {words.removeprefix('at ')}",
            "annotated nuclei, %",
            TITLES[MAIN_METRIC[model]],
            [
                Line(
                    setting,
                    sorted(by_percent),
                    *zip(*_means(by_percent, MAIN_METRIC[model], point), strict=True),
                )
                for setting, by_percent in settings.items()
            ],
            limits=(0, 1),
        )
        for model, settings in summary.items()
        for point, words in POINTS.items()
        if point != "oracle"
    ]
    write_svg(path, panels)


def _means(by_percent: dict[int, Any], metric: str, point: str) -> list[tuple[float, float]]:
    found = [by_percent[percent][metric][point] for percent in sorted(by_percent)]
    return [(one.mean, one.sd) for one in found]


def write_speeds(path: Path, trials: Iterable[dict[str, Any]]) -> bool:
    """Learning speed during training (supplement, Fig. 1), one row of panels per share of labels.

    For the first seed of each setting; returns False if no trial recorded it.
    """
    first: dict[tuple[int, str], dict[str, Any]] = {}
    for trial in sorted(trials, key=lambda one: one["seed"]):
        if trial["speed"]:
            first.setdefault((trial["percent"], trial["setting"]), trial["speed"])
    panels = [
        Panel(
            f"{part}, {percent} % annotated",
            "progress of the training",
            "second derivative",
            [
                Line(setting, speed["progress"], speed[part])
                for (share, setting), speed in first.items()
                if share == percent
            ],
        )
        for percent in sorted({percent for percent, _ in first})
        for part in ("objects", "background")
    ]
    if panels:
        write_svg(path, panels)
    return bool(panels)
