"""``reproduce zoom-k``: how good ZoomMIL is as a function of K, the patches it zooms into at each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_zoommil.experiments.charts import Line, Panel, write_svg
from napari_zoommil.experiments.zooming.comparison import Comparison
from napari_zoommil.experiments.zooming.published import BEST_K
from napari_zoommil.experiments.zooming.report import (
    Row,
    with_metric,
)
from napari_zoommil.experiments.zooming.units import Extent, Unit, zoommil
from napari_zoommil.model_card import markdown_table

NAME = "zoom-k"
SAME = (1, 2, 3, 5, 8, 12, 16)
"""The same K at both steps."""

PAIRS = ((2, 8), (8, 2), (1, 16), (16, 1))
"""K at the first and at the second step."""

NOTE = f"""
The supplement's Figure 2 (BRIGHT) has no numbers in its text: the curve rises to K = {BEST_K} and falls a
little beyond, where nearly all of the patches at the lowest magnification are selected.
"""


def units(extent: Extent) -> list[Unit]:
    """A unit for each K, and for each pair; that of the preset's K is trained for ``zoom-models`` too."""
    own = [zoommil(extent, "zoommil" if k == extent.k else f"k{k}", k=k) for k in SAME]
    return [*own, *(zoommil(extent, f"k{first}-{second}", k=(first, second)) for first, second in PAIRS)]


def table(rows: Sequence[Row]) -> str:
    """A row for each K."""
    header = [
        "K, first step", "K, second step", "seeds", "weighted F1", "AUROC", "accuracy", "encoded patches",
    ]  # fmt: skip
    cells = [
        [
            *map(str, _steps(row)),
            ", ".join(map(str, row.seeds)),
            *(row.shown(metric) for metric in ("weighted F1", "AUROC", "accuracy")),
            f"{row.encoded:,.0f}",
        ]
        for row in rows
    ]
    return markdown_table(header, cells)


def _steps(row: Row) -> tuple[int, int]:
    k = row.unit.options["k"]
    return (k, k) if isinstance(k, int) else k


def _draw(path: Path, rows: Sequence[Row]) -> None:
    """Metrics against K, and against encoded patches with the pairs among them."""
    same = [row for row in rows if isinstance(row.unit.options["k"], int)]
    pairs = [row for row in rows if row not in same]
    panels = [
        Panel(
            title,
            x,
            "%",
            [
                Line(name, [place(row) for row in found], *_values(found, metric))
                for name, listed, metric in lines
                if (found := with_metric(listed, metric))
            ],
        )
        for title, x, place, lines in (
            (
                "the same K at both steps",
                "K",
                lambda row: float(_steps(row)[0]),
                [("weighted F1", same, "weighted F1"), ("AUROC", same, "AUROC")],
            ),
            (
                "weighted F1",
                "encoded patches per slide",
                lambda row: row.encoded,
                [
                    ("weighted F1", same, "weighted F1"),
                    *((f"K = {', '.join(map(str, _steps(row)))}", [row], "weighted F1") for row in pairs),
                ],
            ),
        )
    ]
    write_svg(path, panels)


def _values(rows: Sequence[Row], metric: str) -> tuple[list[float], list[float]]:
    found = [row.metrics[metric] for row in rows]
    return [100 * one.mean for one in found], [100 * one.sd for one in found]


experiment = Comparison(NAME, lambda extent, _: units(extent), lambda _: f"\n{NOTE}", table, _draw)
