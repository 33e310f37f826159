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
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        _draw(axis, points, colours, fewer_is_better)
        axis.set(title=title, xlabel=x, ylabel=y)
    handles = [axes[0].plot([], [], "o", ms=5, color=colour)[0] for colour in colours.values()]
    figure.legend(handles, groups, loc="outside lower left", frameon=False, ncols=len(groups))
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
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


LETTER, LINE, MARKER, GAP = 3.6, 8.5, 5.0, 6.0
"""Width of a letter and height of a line of a label, size of a marker, and distance between both, points."""

PLACES = [(side, line) for line in (0, 1, -1, 2, -2, 3, -3) for side in (1, -1)]
"""Where a label may stand: right or left of its marker, and so many lines above it; the first is the best."""


def _offsets(axis: Axes, points: Sequence[Point]) -> list[tuple[float, float]]:
    """Where each label stands, in points from its marker, so that labels cover no marker and no label."""
    axis.figure.canvas.draw()
    scale = 72 / axis.figure.dpi
    width = axis.bbox.width * scale
    low = axis.bbox.x0 * scale
    places = [tuple(axis.transData.transform((one.x, one.y)) * scale) for one in points]
    taken = [_Box(x - MARKER, y - MARKER / 2, x + MARKER, y + MARKER / 2) for x, y in places]
    offsets = []
    for own, ((x, y), point) in enumerate(zip(places, points, strict=True)):
        boxes = [_label_box(x, y, point.name, side, line) for side, line in PLACES]
        free = [
            place
            for place, box in zip(PLACES, boxes, strict=True)
            if low <= box.left and box.right <= low + width
            and not any(box.meets(other) for n, other in enumerate(taken) if n != own)
        ]  # fmt: skip
        side, line = (free or PLACES)[0]
        taken.append(_label_box(x, y, point.name, side, line))
        offsets.append((side * GAP, line * LINE))
    return offsets


class _Box(NamedTuple):
    left: float
    low: float
    right: float
    high: float

    def meets(self, other: _Box) -> bool:
        apart = self.right < other.left or other.right < self.left
        return not (apart or self.high < other.low or other.high < self.low)


def _label_box(x: float, y: float, name: str, side: int, line: int) -> _Box:
    near, far = x + side * GAP, x + side * (GAP + LETTER * len(name))
    middle = y + line * LINE
    return _Box(min(near, far), middle - LINE / 2, max(near, far), middle + LINE / 2)
