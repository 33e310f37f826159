"""Figures of ``nic-slides``: every one with its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_zoommil.experiments.charts import STYLE, Line, Panel
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.nic_slides.comparison import (
    CHANCE,
    VARIED,
    control_values,
    default_rows,
    sizes_of,
    value_of,
    varied,
)
from napari_zoommil.experiments.nic_slides.published import PUBLISHED
from napari_zoommil.experiments.nic_slides.trials import CONTROLS, ORACLE, TASKS, Task
from napari_zoommil.experiments.trial_rows import Row
from napari_zoommil.files import write_file

LOWEST = 0.3
"""Where the axis of an AUC begins, unless one is lower."""

Bars = dict[str, dict[str, Mean]]


BAR_TITLES: dict[Task, str] = {"presence": "AUC, all (Table 2)", "share": "Spearman, all (Table 3)"}


def tables(rows: Sequence[Row]) -> Bars:
    """Tables 2 and 3 as bars: ours, the controls, and chance."""
    found: Bars = {}
    for task in TASKS:
        own = {
            _labelled(name): mean
            for name, row in default_rows(rows, task).items()
            if (mean := row.mean("all", "value"))
        }
        own["chance"] = Mean(CHANCE[task], 0.0, 1)
        found[BAR_TITLES[task]] = own
    return found


def published() -> dict[str, dict[str, float]]:
    """The paper's numbers, for the bars of :func:`tables`."""
    return {
        BAR_TITLES[task]: {_labelled(name): one["all"][0] for name, one in PUBLISHED[task].items()}
        for task in TASKS
    }


def map_bars(rows: Sequence[Row]) -> Bars:
    """Agreement of Grad-CAM with the tumour, by encoder, beside the mean of the control maps over
    encoders, without a spread: bars have one over seeds."""
    titles: dict[Task, str] = {"presence": "class (Fig. 10)", "share": "number (Fig. 11)"}
    found: Bars = {}
    for task in TASKS:
        own = default_rows(rows, task)
        bars = {_labelled(name): mean for name, row in own.items() if (mean := row.mean("maps", "jaccard"))}
        for kind in ("random", "density"):
            means = [mean.mean for row in own.values() if (mean := row.mean("maps", f"jaccard_{kind}"))]
            if means:
                bars[f"{kind} map (control)"] = Mean(sum(means) / len(means), 0.0, 1)
        found[titles[task]] = bars
    return {title: bars for title, bars in found.items() if bars}


def _labelled(encoder: str) -> str:
    return f"{encoder} (control)" if encoder in CONTROLS else encoder


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Fig. 8 and Fig. 9."""
    own = default_rows(rows, "presence")
    sizes = {name: found for name, row in own.items() if (found := sizes_of(row))}
    lines = [Line(name, *map(list, zip(*found, strict=True))) for name, found in sizes.items()]
    by_size = Panel(
        "size (Fig. 8)", "radius of the lesion, mm; 0: no tumour", "mean probability", lines, (0, 1)
    )
    controls = control_values(own)
    return [by_size, *(_panel(varied(rows, what), what, controls) for what in VARIED)]


def _panel(rows: Sequence[Row], what: str, controls: Mapping[str, float]) -> Panel:
    pairs = [(value_of(row.trial, what), mean) for row in rows if (mean := row.mean("all", "value"))]
    x = [value for value, _ in pairs]
    lowest = min([*(one.mean - one.sd for _, one in pairs), *controls.values(), LOWEST])
    lines = [Line(ORACLE, x, [one.mean for _, one in pairs], [one.sd for _, one in pairs])]
    flat = {**controls, "chance": CHANCE["presence"]}
    lines += [Line(name, x, [value] * len(x)) for name, value in flat.items()]
    title = VARIED[what].split(",")[0] + ("" if what == "region" else " (Fig. 9)")
    return Panel(title, VARIED[what], "AUC, all", lines, (lowest, 1))


def draw_examples(path: Path, examples: Mapping[str, Path]) -> None:
    """Slides, outlined tumours, and the map of each encoder in a column (Figs. 10 and 11), in one frame."""
    import matplotlib
    from matplotlib.figure import Figure

    found = {name: _read(one) for name, one in examples.items()}
    count = min(map(len, found.values()))
    grey: Any = {"cmap": "gray", "vmin": 0, "vmax": 1}
    with matplotlib.rc_context(STYLE):
        figure = Figure((1.6 * (2 + len(found)), 1.75 * count), layout="constrained")
        axes = figure.subplots(count, 2 + len(found), squeeze=False)
        for axis in axes.ravel():
            axis.set_axis_off()
        for row in range(count):
            first = next(iter(found.values()))[row]
            axes[row, 0].imshow(first.picture, extent=first.within)
            axes[row, 1].imshow(first.truth, extent=first.at, **grey)
            for column, own in enumerate((each[row] for each in found.values()), 2):
                axes[row, column].imshow(np.ma.masked_invalid(own.map), extent=own.at, cmap="viridis")
            for axis in axes[row]:
                axis.set(xlim=first.within[:2], ylim=first.within[2:])
        for column, title in enumerate(("slide", "tumour", *found)):
            axes[0, column].set_title(title)
        content = BytesIO()
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


class Example(NamedTuple):
    """A slide with a map: ``within`` and ``at`` are left, right, bottom and top of both, level-0 px."""

    picture: Any
    within: Any
    map: Any
    at: Any
    truth: Any


def _read(path: Path) -> list[Example]:
    with np.load(path) as content:
        count = len(content.files) // len(Example._fields)
        return [Example(*(content[f"{name}{n}"] for name in Example._fields)) for n in range(count)]


def has_examples(path: Path) -> bool:
    """Whether a slide with a tumour was explained."""
    return path.is_file() and bool(_read(path))
