"""Scatter plots of quality against cost, with the frontier of the best, as SVG or PNG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_zoommil.experiments.charts import STYLE, require_matplotlib
from napari_zoommil.files import write_file
from napari_zoommil.maps.colours import class_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """A method: cost, quality and its spread, and the group that gives its colour."""

    name: str
    x: float
    y: float
    spread: float = 0.0
    group: str = ""


def frontier(points: Iterable[Point], fewer_is_better: bool) -> list[Point]:
    """The points that no other one beats in both cost and quality, by cost."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x if fewer_is_better else -one.x, -one.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return sorted(best, key=lambda one: one.x)


def write_scatter(
    path: Path, panels: Mapping[str, Sequence[Point]], x: str, y: str, fewer_is_better: bool
) -> None:
    """Write panels side by side, with logarithmic x; the format is that of the suffix of ``path``.

    Raises
    ------
    JobError
        If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = _figure(panels, x, y, fewer_is_better)
        save(figure, content, path.suffix[1:])
    write_file(path, content.getvalue())


def save(figure: Figure, content: BytesIO, kind: str) -> None:
    """Write a figure such that equal figures give equal files."""
    how: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 150}
    figure.savefig(content, format=kind, bbox_inches="tight", **how)


def _figure(panels: Mapping[str, Sequence[Point]], x: str, y: str, fewer_is_better: bool) -> Figure:
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(point.group for points in panels.values() for point in points))
    colours = {group: class_colour(index) for index, group in enumerate(groups)}
    figure = Figure((6.4 * len(panels), 4.6), layout="constrained")
    for axis, (title, points) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _draw(axis, points, colours, fewer_is_better)
        axis.set(title=title, xlabel=x, ylabel=y)
    return figure


def _draw(axis: Axes, points: Sequence[Point], colours: Mapping[str, str], fewer_is_better: bool) -> None:
    best = frontier(points, fewer_is_better)
    axis.plot([one.x for one in best], [one.y for one in best], color="#999999", lw=1, ls="--", zorder=1)
    for point in points:
        spread = point.spread or None
        axis.errorbar(point.x, point.y, spread, color=colours[point.group], marker="o", ms=5, lw=0.8)
    axis.set_xscale("log")
    axis.margins(x=0.18, y=0.12)
    for point, (dx, dy) in zip(points, _offsets(axis, points), strict=True):
        axis.annotate(
            point.name,
            (point.x, point.y),
            (dx, dy),
            textcoords="offset points",
            fontsize=7,
            ha="left" if dx > 0 else "right",
            va="center",
            color="#333333",
        )
    for group, colour in colours.items():
        if group:
            axis.plot([], [], "o", ms=5, color=colour, label=group)
    if any(colours):
        axis.legend(frameon=False, loc="lower right")
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


LINE_POINTS = 8.5
"""Least distance between the labels of points at nearly the same cost."""


def _offsets(axis: Axes, points: Sequence[Point]) -> list[tuple[float, float]]:
    """Where each label stands, in points from its marker: labels of near points are spread vertically."""
    axis.figure.canvas.draw()
    places = [axis.transData.transform((one.x, one.y)) * 72 / axis.figure.dpi for one in points]
    offsets = [(6.0, 0.0)] * len(points)
    placed: list[tuple[float, float]] = []
    for index in sorted(range(len(points)), key=lambda one: places[one][1]):
        x, y = places[index]
        low = y
        while any(abs(x - other) < 75 and abs(low - height) < LINE_POINTS for other, height in placed):
            low += 1.0
        placed.append((x, low))
        offsets[index] = (6.0, low - y)
    return offsets
