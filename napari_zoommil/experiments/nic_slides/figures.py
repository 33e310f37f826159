"""Figures of ``nic-slides``: every one with its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.experiments.charts import STYLE, Line, Panel
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.nic_slides.published import PUBLISHED
from napari_zoommil.experiments.nic_slides.report import (
    CHANCE,
    VARIED,
    control_values,
    default_rows,
    sizes_of,
    value_of,
    varied,
)
from napari_zoommil.experiments.nic_slides.trials import CONTROLS, ORACLE, TASKS, Task
from napari_zoommil.experiments.trial_rows import Row
from napari_zoommil.files import write_file

Bars = dict[str, dict[str, Mean]]


def tables(rows: Sequence[Row]) -> Bars:
    """Tables 2 and 3 as bars: ours, the controls, chance, and the paper's numbers."""
    titles: dict[Task, str] = {"presence": "AUC, all (Table 2)", "share": "Spearman, all (Table 3)"}
    found: Bars = {}
    for task in TASKS:
        own = {
            f"{name} (control)" if name in CONTROLS else name: mean
            for name, row in default_rows(rows, task).items()
            if (mean := row.mean("all", "value"))
        }
        own["chance"] = Mean(CHANCE[task], 0.0, 1)
        own |= {f"the paper: {name}": Mean(*one["all"], 2) for name, one in PUBLISHED[task].items()}
        found[titles[task]] = own
    return found


def map_bars(rows: Sequence[Row]) -> Bars:
    """Agreement of Grad-CAM with the tumour, by encoder, beside the mean of the control maps."""
    titles: dict[Task, str] = {"presence": "class (Fig. 10)", "share": "number (Fig. 11)"}
    found: Bars = {}
    for task in TASKS:
        own = default_rows(rows, task)
        bars = {name: mean for name, row in own.items() if (mean := row.mean("maps", "jaccard"))}
        for kind in ("random", "density"):
            means = [mean.mean for row in own.values() if (mean := row.mean("maps", f"jaccard_{kind}"))]
            if means:
                bars[f"{kind} map (control)"] = Mean.of(means)
        found[titles[task]] = bars
    return {title: bars for title, bars in found.items() if bars}


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Fig. 8 and Fig. 9."""
    own = default_rows(rows, "presence")
    lines = [Line(name, *map(list, zip(*sizes_of(row), strict=True))) for name, row in own.items()]
    by_size = Panel(
        "size (Fig. 8)", "radius of the lesion, mm; 0: no tumour", "mean probability", lines, (0, 1)
    )
    controls = control_values(own)
    return [by_size, *(_panel(varied(rows, what), what, controls) for what in VARIED)]


def _panel(rows: Sequence[Row], what: str, controls: Mapping[str, float]) -> Panel:
    pairs = [(value_of(row.trial, what), mean) for row in rows if (mean := row.mean("all", "value"))]
    x = [value for value, _ in pairs]
    lines = [Line(ORACLE, x, [one.mean for _, one in pairs], [one.sd for _, one in pairs])]
    flat = {**controls, "chance": CHANCE["presence"]}
    lines += [Line(name, x, [value] * len(x)) for name, value in flat.items()]
    return Panel(f"{VARIED[what].split(',')[0]} (Fig. 9)", VARIED[what], "AUC, all", lines, (0.3, 1))


def draw_examples(path: Path, examples: Mapping[str, Path]) -> None:
    """Slides, outlined tumours, and the map of each encoder in a column (Figs. 10 and 11)."""
    import matplotlib
    from matplotlib.figure import Figure

    found = {name: _read(one) for name, one in examples.items()}
    count = min(map(len, found.values()))
    with matplotlib.rc_context(STYLE):
        figure = Figure((1.6 * (2 + len(found)), 1.75 * count), layout="constrained")
        axes = figure.subplots(count, 2 + len(found), squeeze=False)
        for axis in axes.ravel():
            axis.set_axis_off()
        for row in range(count):
            picture, _, truth = next(iter(found.values()))[row]
            axes[row, 0].imshow(picture)
            axes[row, 1].imshow(truth, cmap="gray", vmin=0, vmax=1)
            for column, values in enumerate(found.values(), 2):
                axes[row, column].imshow(np.ma.masked_invalid(values[row][1]), cmap="viridis")
        for column, title in enumerate(("slide", "tumour", *found)):
            axes[0, column].set_title(title)
        content = BytesIO()
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _read(path: Path) -> list[tuple[Any, Any, Any]]:
    with np.load(path) as content:
        count = len(content.files) // 3
        return [(content[f"picture{n}"], content[f"map{n}"], content[f"truth{n}"]) for n in range(count)]
