"""What a MIL model makes of a slide before and after it is taught."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_zoommil.geometry import Rows, magnification_name
from napari_zoommil.jobs.loading import Loaded
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.zoom import zoom
from napari_zoommil.maps import HeatMap

if TYPE_CHECKING:
    from napari_zoommil.bags import LazyBag
    from napari_zoommil.models.mil import MILOutput


When = Literal["before", "after"]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention before or after, one map for each magnification, lowest first."""

    when: When
    maps: tuple[HeatMap, ...]


@dataclass(frozen=True, eq=False)
class Sight:
    """What a model says of a slide.

    Attributes
    ----------
    output : MILOutput
    zoomed : (k,) int64
        Patches of the lowest magnification that it zoomed into.
    figures : dict of str to float
        Share of the attention on annotated patches, by magnification, and the result's figures.
    """

    output: MILOutput
    zoomed: Rows
    figures: dict[str, float]


@dataclass(frozen=True, eq=False)
class Watch:
    """Looks at a slide with a model, as a prediction does, to compare before and after.

    Attributes
    ----------
    taught : Loaded
    bag : LazyBag
    targets : tuple of (n,) int64
    trees : (m,) int64 or None
        Patches of the lowest magnification that it is shown with all inside them; all where None.
    """

    taught: Loaded
    bag: LazyBag
    targets: tuple[Rows, ...]
    trees: Rows | None

    def look(self, when: When) -> Job[Sight]:
        """One pass; what it asks for is encoded if it is not known."""
        from napari_zoommil.bags.view import PartBag

        trees = np.arange(len(self.bag.grid.levels[0])) if self.trees is None else self.trees
        part, device = PartBag.of_trees(self.bag, trees), self.taught.device.torch
        mil = self.taught.model.to(device).eval()
        output = yield from zoom(mil, part, device, f"attention {when}, ", paint=False)
        yield Progress(1, 1, f"attention {when}", AttentionMaps(when, self._maps(output, part.rows)))
        zoomed = output.steps[0].zoomed if output.steps else np.empty(0, np.int64)
        return Sight(output, part.rows[0][zoomed], self._figures(output, part.rows))

    def _maps(self, output: MILOutput, rows: tuple[Rows, ...]) -> tuple[HeatMap, ...]:
        from napari_zoommil.maps.heatmap import rasterise

        found = []
        for step in output.steps:
            where, scores = rows[step.level][step.rows], step.attention.cpu().numpy()
            found.append(rasterise(self.bag.grid, step.level, where, scores, self.bag.slide.mpp, "attention"))
        return tuple(found)

    def _figures(self, output: MILOutput, rows: tuple[Rows, ...]) -> dict[str, float]:
        figures = {}
        for step in output.steps:
            annotated = self.targets[step.level][rows[step.level][step.rows]] > 0
            share = step.attention.softmax(0).cpu().numpy()[annotated].sum()
            name = magnification_name(self.bag.grid.magnifications[step.level])
            figures[f"attention_on_points_{name}"] = round(float(share), 4)
        task = self.taught.spec.task
        values = task.link(output.logits).cpu().numpy()
        return figures | {name: round(value, 4) for name, value in task.figures(values).items()}
