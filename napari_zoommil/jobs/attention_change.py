"""Attention and prediction of a MIL model on a slide before and after fine-tuning."""

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
    from torch import Tensor

    from napari_zoommil.bags import LazyBag
    from napari_zoommil.models.mil import MILOutput, Step


When = Literal["before", "after"]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention before or after fine-tuning, one map per magnification, lowest first."""

    when: When
    maps: tuple[HeatMap, ...]


@dataclass(frozen=True, eq=False)
class AttentionState:
    """The result of a model's pass over a slide.

    Attributes
    ----------
    output : MILOutput
    zoomed : (k,) int64
        Patches of the lowest magnification that the model selected for zooming.
    figures : dict of str to float
        Share of the attention on annotated patches, by magnification, and the task's values.
    """

    output: MILOutput
    zoomed: Rows
    figures: dict[str, float]


@dataclass(frozen=True, eq=False)
class AttentionProbe:
    """Runs a model's pass over a slide, to compare before and after fine-tuning.

    Attributes
    ----------
    loaded : Loaded
    bag : LazyBag
    targets : tuple of (n,) int64
    trees : (m,) int64 or None
        Patches of the lowest magnification that the pass covers, with all their descendants; None for all.
    label : str or None
        Class of the points: where the model has an attention to it, that one is measured, else its first.
    """

    loaded: Loaded
    bag: LazyBag
    targets: tuple[Rows, ...]
    trees: Rows | None
    label: str | None = None

    def measure(self, when: When) -> Job[AttentionState]:
        """One pass; patches without features are encoded."""
        from napari_zoommil.bags.view import PartBag

        trees = np.arange(len(self.bag.grid.levels[0])) if self.trees is None else self.trees
        part, device = PartBag.of_trees(self.bag, trees), self.loaded.device.torch
        mil = self.loaded.model.to(device).eval()
        output = yield from zoom(mil, part, device, f"attention {when}, ", paint=False)
        yield Progress(1, 1, f"attention {when}", AttentionMaps(when, self._maps(output, part.rows)))
        zoomed = output.steps[0].zoomed if output.steps else np.empty(0, np.int64)
        return AttentionState(output, part.rows[0][zoomed], self._figures(output, part.rows))

    def _maps(self, output: MILOutput, rows: tuple[Rows, ...]) -> tuple[HeatMap, ...]:
        from napari_zoommil.maps.heatmap import rasterise

        found = []
        for step in output.steps:
            where, scores = rows[step.level][step.rows], self._attention(step).cpu().numpy()
            found.append(rasterise(self.bag.grid, step.level, where, scores, self.bag.slide.mpp, "attention"))
        return tuple(found)

    def _attention(self, step: Step) -> Tensor:
        """(n,) logits."""
        heads = self.loaded.model.heads
        return step.scores[:, heads.index(self.label) if self.label in heads else 0]

    def _figures(self, output: MILOutput, rows: tuple[Rows, ...]) -> dict[str, float]:
        figures = {}
        for step in output.steps:
            annotated = self.targets[step.level][rows[step.level][step.rows]] > 0
            share = self._attention(step).softmax(0).cpu().numpy()[annotated].sum()
            name = magnification_name(self.bag.grid.magnifications[step.level])
            figures[f"attention_on_points_{name}"] = round(float(share), 4)
        task = self.loaded.spec.task
        values = task.link(output.logits).cpu().numpy()
        return figures | {name: round(value, 4) for name, value in task.figures(values).items()}
