"""Figure of a slide: known region, attention at each magnification, and the patches of the most attention."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.experiments.charts import STYLE, require_matplotlib
from napari_zoommil.experiments.zoom_maps.numbers import SlideMaps
from napari_zoommil.experiments.zooming.scatter import save
from napari_zoommil.files import write_file
from napari_zoommil.geometry import magnification_name
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import read_overview, read_patch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP = 4
OVERVIEW_MPP = 4.0
AROUND = 1.4
"""Edge of what is shown over that of what was read."""

COLOURS = "magma"
OUTLINE = "#00b4d8"


def write_figure(path: Path, slide: Slide, maps: SlideMaps) -> None:
    """Write the figure as PNG.

    Raises
    ------
    JobError
        If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    overview, levels = read_overview(slide, OVERVIEW_MPP), len(maps.rows)
    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure((3.0 * (levels + 1) + 3.2, 3.6), layout="constrained")
        columns: Any = figure.subfigures(1, 2, width_ratios=(3.0 * (levels + 1), 3.2))
        axes = columns[0].subplots(1, levels + 1)
        _overview(axes[0], slide, overview, maps)
        axes[0].set_title("slide, known region" if maps.outline else "slide, no region", fontsize=8)
        for level, axis in enumerate(axes[1:]):
            _overview(axis, slide, overview, maps)
            image = _attention(axis, maps, level)
            _enlarge(axis, maps, level)
            axis.set_title(_title(maps, level), fontsize=8)
        bar = columns[0].colorbar(image, ax=list(axes), shrink=0.6, pad=0.01)
        bar.set_label("attention, from min to max of the map", fontsize=7)
        _patches(columns[1], slide, maps)
        verdict = "classified correctly" if maps.right else f"wrong: predicted {maps.predicted}"
        figure.suptitle(f"{path.stem}: {maps.label}, {verdict}", x=0.01, ha="left")
        save(figure, content, "png")
    write_file(path, content.getvalue())


def _overview(axis: Axes, slide: Slide, overview: Any, maps: SlideMaps) -> None:
    height, width = slide.shape
    axis.imshow(overview, extent=(0, width, height, 0))
    for polygon in maps.outline:
        for ring in (polygon.exterior, *polygon.interiors):
            y, x = np.asarray(ring.coords).T
            axis.plot(x, y, color=OUTLINE, lw=1.2)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_xticks([])
    axis.set_yticks([])


def _attention(axis: Axes, maps: SlideMaps, level: int) -> Any:
    """The patches that were read, coloured by the attention for pooling; the slide is paled below them."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    patches, values = maps.grid.levels[level], maps.scores[level][:, 0]
    low, high = float(values.min()), float(values.max())
    height, width = patches.size
    boxes = [Rectangle((x, y), width, height) for y, x in patches.origins[maps.rows[level]]]
    found = PatchCollection(boxes, cmap=COLOURS, alpha=0.75, lw=0)
    found.set_array((values - low) / max(high - low, 1e-9))
    found.set_clim(0, 1)
    axis.add_collection(found)
    return found


def _enlarge(axis: Axes, maps: SlideMaps, level: int) -> None:
    """Show the part of the slide where patches were read, square, with some of what is around them."""
    patches = maps.grid.levels[level]
    places = patches.origins[maps.rows[level]]
    low, high = places.min(0), places.max(0) + patches.size
    half = min(AROUND * max(high - low) / 2, max(maps.grid.shape) / 2)
    middle = np.clip((low + high) / 2, half, np.maximum(np.array(maps.grid.shape) - half, half))
    axis.set_xlim(middle[1] - half, middle[1] + half)
    axis.set_ylim(middle[0] + half, middle[0] - half)


def _title(maps: SlideMaps, level: int) -> str:
    text = f"{magnification_name(maps.grid.magnifications[level])}, {len(maps.rows[level]):,} patches"
    own = [one for one in maps.numbers() if one.magnification == maps.grid.magnifications[level]]
    if not own:
        return text
    first = own[0]
    precision = "" if first.precision is None else f", AP {first.precision:.2f} (chance {first.chance:.2f})"
    return f"{text}\n{first.inside:.0%} inside (even: {first.expected:.0%}){precision}"


def _patches(figure: Any, slide: Slide, maps: SlideMaps) -> None:
    """The patches of the most attention at the highest magnification."""
    level = len(maps.rows) - 1
    best = np.argsort(-maps.scores[level][:, 0])[:TOP]
    for axis, index in zip(figure.subplots(2, TOP // 2).ravel(), best, strict=False):
        axis.imshow(read_patch(slide, maps.grid, level, int(maps.rows[level][index])))
    for axis in figure.axes:
        axis.set_axis_off()
    figure.suptitle(f"most attention at {magnification_name(maps.grid.magnifications[level])}", fontsize=8)
