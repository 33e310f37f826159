"""What a MIL model sees of a slide before and after it is taught: a pass that keeps what it encodes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_zoommil.geometry import Rows, magnification_name
from napari_zoommil.jobs.loading import Loaded
from napari_zoommil.jobs.progress import Job, Progress
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
        Share of the attention on annotated patches, by magnification, and the classes' probabilities.
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
        import torch

        from napari_zoommil.bags.subgrid import subtrees

        whole, device = self.bag.grid, self.taught.device.torch
        trees = np.arange(len(whole.levels[0])) if self.trees is None else self.trees
        grid, rows = subtrees(whole, trees)
        self.taught.model.to(device).eval()
        with torch.no_grad(), closing(self.taught.model.steps(grid)) as steps:
            try:
                need = next(steps)
                while True:
                    wanted = rows[need.level][need.rows]
                    yield from encode(self.bag, need.level, wanted, f"attention {when}, ")
                    need = steps.send(self.bag.features(need.level, wanted).to(device))
            except StopIteration as stop:
                output: MILOutput = stop.value
        yield Progress(1, 1, f"attention {when}", AttentionMaps(when, self._maps(output, rows)))
        return Sight(output, rows[0][output.steps[0].zoomed], self._figures(output, rows))

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
        for name, value in zip(self.taught.spec.class_names, output.probabilities.tolist(), strict=True):
            figures[f"probability_{name}"] = round(value, 4)
        return figures


def encode(bag: LazyBag, level: int, rows: Rows, title: str) -> Generator[Progress, None, None]:
    """Encode those of ``rows`` that a bag does not know, telling how far it is."""
    name = magnification_name(bag.grid.magnifications[level])
    done, total = int(bag.known(level)[rows].sum()), len(rows)
    with closing(bag.encode(level, rows)) as batches:
        for chunk in batches:
            done += len(chunk)
            yield Progress(done, total, f"{title}{name}: {done:,} of {total:,} patches")
