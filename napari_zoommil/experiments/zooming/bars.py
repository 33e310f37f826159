"""Horizontal bars of means over seeds, a panel for each metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari_zoommil.experiments.charts import STYLE, require_matplotlib
from napari_zoommil.experiments.zooming.scatter import save
from napari_zoommil.files import write_file
from napari_zoommil.maps.colours import class_colour

if TYPE_CHECKING:
    from napari_zoommil.experiments.means import Mean

EMPTY: Mapping[str, Mapping[str, float]] = MappingProxyType({})

PAPER: dict[str, Any] = {
    "marker": "D",
    "s": 30,
    "facecolor": "white",
    "edgecolor": "black",
    "zorder": 3,
    "label": "the paper",
}
"""Look of the paper's values."""


def write_bars(
    path: Path,
    panels: Mapping[str, Mapping[str, Mean]],
    unit: str,
    marked: Collection[str] = (),
    published: Mapping[str, Mapping[str, float]] = EMPTY,
) -> None:
    """Write panels side by side; values are shares and shown in percent.

    Parameters
    ----------
    path : Path
    panels : mapping of str to mapping of str to Mean
    unit : str
    marked : collection of str
        Names of bars in another colour than the others; by default the first.
    published : mapping of str to mapping of str to float
        The paper's values, by the panel and the name of the bar that they are marked on.

    Raises
    ------
    JobError
        If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for bars in panels.values() for name in bars))
    marked = marked or names[:1]
    lowest = min([100 * (one.mean - one.sd) for bars in panels.values() for one in bars.values()], default=0)
    content, key = BytesIO(), None
    with matplotlib.rc_context(STYLE):
        figure = Figure((4.4 * len(panels), 0.8 + 0.32 * len(names)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, (title, bars) in zip(axes, panels.items(), strict=True):
            for name, mean in bars.items():
                place, colour = names.index(name), class_colour(0 if name in marked else 1)
                axis.barh(place, 100 * mean.mean, color=colour, height=0.65)
                axis.errorbar(100 * mean.mean, place, xerr=100 * mean.sd, color="#333333", lw=1, capsize=2)
            known = {name: value for name, value in published.get(title, {}).items() if name in bars}
            if known:
                places = [names.index(name) for name in known]
                key = axis.scatter([100 * one for one in known.values()], places, **PAPER)
            axis.set(title=title, xlabel=unit, xlim=(min(0, 1.05 * lowest), 105))
            axis.set_yticks(range(len(names)), names)
            axis.grid(axis="x", color="#dddddd")
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        if key is not None:
            figure.legend(handles=[key], loc="outside lower center")  # no bar is covered
        save(figure, content, path.suffix[1:])
    write_file(path, content.getvalue())
