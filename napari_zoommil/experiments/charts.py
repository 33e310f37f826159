"""Line charts of reports as SVG, drawn by matplotlib (the extra ``experiments``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import JobError
from napari_zoommil.files import write_file
from napari_zoommil.maps.colours import class_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
PANEL_INCHES = (4.3, 3.3)

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "napari-zoommil", "font.size": 9}
"""Text is stored as text, and equal values give equal files."""

BELOW: Any = dict(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=3, frameon=False, fontsize=7)
"""A legend under its panel, where it covers no line."""


@dataclass(frozen=True)
class Line:
    """A curve; ``spread`` is drawn as an error bar above and below each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves in one coordinate system.

    Attributes
    ----------
    title, x, y : str
        Titles of the panel and its axes.
    lines : sequence of Line
    limits : (float, float), optional
        Limits of y; from the values by default.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    limits: tuple[float, float] | None = None


def write_svg(path: Path, panels: Sequence[Panel], legends: bool = False) -> None:
    """Write panels in rows of two, with one legend; each name has the same colour in all panels.

    Parameters
    ----------
    path : Path
    panels : sequence of Panel
    legends : bool
        A legend in each panel, and colours by the order within it, for panels of different names.

    Raises
    ------
    JobError
        If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        drawn(panels, legends).savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    write_file(path, content.getvalue())


def require_matplotlib() -> None:
    """Check that matplotlib is installed, before any work.

    Raises
    ------
    JobError
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise JobError('figures need matplotlib: pip install "napari-zoommil[experiments]"') from error


def drawn(panels: Sequence[Panel], legends: bool = False) -> Figure:
    """The panels as a matplotlib figure."""
    from matplotlib.figure import Figure

    names = _names(panels)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // COLUMNS)
    figure = Figure((columns * PANEL_INCHES[0], rows * PANEL_INCHES[1]), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        _draw(axis, panel, _names([panel]) if legends else names)
    for axis in axes[len(panels) :]:
        axis.remove()
    if legends:
        for axis in figure.axes:
            axis.legend(**BELOW)
        return figure
    shown = [axis.get_legend_handles_labels() for axis in figure.axes]
    handles = {name: handle for pair in shown for handle, name in zip(*pair, strict=True)}
    own = [handles[name] for name in names]
    figure.legend(own, names, loc="outside lower left", frameon=False, ncols=columns)
    return figure


def _names(panels: Sequence[Panel]) -> list[str]:
    return list(dict.fromkeys(line.name for panel in panels for line in panel.lines))


def _draw(axis: Axes, panel: Panel, names: Sequence[str]) -> None:
    for line in panel.lines:
        colour = class_colour(names.index(line.name))
        axis.errorbar(line.x, line.y, line.spread, label=line.name, color=colour, marker="o", ms=4)
    axis.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    axis.grid(axis="y", color="#dddddd")
    axis.spines[["top", "right"]].set_visible(False)
    if panel.limits is not None:
        axis.set_ylim(panel.limits)
