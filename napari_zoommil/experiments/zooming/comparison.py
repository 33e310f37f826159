"""The experiments ``zoom-*`` that train models and compare them in a table: one function for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.zooming.report import FIGURE, Row, about, rows_of, summarised, written
from napari_zoommil.experiments.zooming.training import trained
from napari_zoommil.experiments.zooming.units import EXTENTS, Extent, Unit
from napari_zoommil.jobs import Job


@dataclass(frozen=True)
class Comparison:
    """An experiment; calling it is the job.

    Attributes
    ----------
    name : str
    units : callable
        ``units(extent, preset)``: what is trained, in the order of the table.
    note : callable
        ``note(extent)``: what to know before the table, as Markdown.
    table : callable
        ``table(rows)``: the table, and what it shows, as Markdown.
    draw : callable
        ``draw(path, rows=…)`` writes the figure.
    """

    name: str
    units: Callable[[Extent, str], list[Unit]]
    note: Callable[[Extent], str]
    table: Callable[[Sequence[Row]], str]
    draw: Callable[..., None]

    def __call__(
        self,
        out: Path,
        preset: str = "cpu",
        data: Path | None = None,
        only: Sequence[str] = (),
        mpp: float = 0.25,
        device: str = "auto",
    ) -> Job[Reproduction]:
        """Train each unit without a result, then write table and figure of all results.

        The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not
        used.
        """
        extent = EXTENTS[preset]
        listed = self.units(extent, preset)
        bench, results = yield from trained(out, extent, data, listed, only, device)
        rows = rows_of(listed, results)
        text = f"# {self.name}\n\n{about(bench, data, results)}{self.note(extent)}\n{self.table(rows)}\n"
        summary = {"summary": [summarised(row) for row in rows]}
        figures = {FIGURE: partial(self.draw, rows=rows)}
        return written(self.name, preset, bench, results, text, figures, summary)
