"""``reproduce zoom-models``: every MIL model on one cohort, with what it must encode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_zoommil.experiments.zooming.comparison import Comparison
from napari_zoommil.experiments.zooming.published import DATA_SETS, published
from napari_zoommil.experiments.zooming.report import (
    DASH,
    Row,
    gain,
    with_metric,
)  # fmt: skip
from napari_zoommil.experiments.zooming.scatter import Point, write_scatter
from napari_zoommil.experiments.zooming.units import COLOUR, Extent, Unit, zoommil
from napari_zoommil.model_card import markdown_table

NAME = "zoom-models"
F1 = "weighted F1"

SINGLE = ("abmil", "clam_sb", "clam_mb", "transmil", "maxmil", "meanmil", "sparseconvmil")
"""Models of one magnification."""

NARROW = {"hidden": 128, "heads": 4, "landmarks": 64}
"""TransMIL in the preset ``cpu``: at its own width a step at 20x takes seconds."""

NOTE = """
Encoded patches: mean over the test slides. *Share*: of the patches at 20x. `-colour`: the same model on the
mean colour of each patch. Beside them the paper's weighted F1 in percent at corresponding magnifications (the
highest of a data set stands for 20x); its data sets are other ones, so only the order can be compared.
"""


def units(extent: Extent, preset: str) -> list[Unit]:
    """ZoomMIL first, then its peers at 20x, at several and at lower magnifications, and colour alone."""
    small = preset == "cpu"
    single = [
        Unit(f"{name}@20x", name, (20.0,), NARROW if small and name == "transmil" else {}) for name in SINGLE
    ]
    several = [Unit(name, name) for name in ("msmil", "dsmil")]
    lower = [
        Unit(f"{name}@{scale:g}x", name, (scale,))
        for scale in (10.0, 5.0)
        for name in ("abmil", "clam_sb", *(() if small else ("transmil",)))
    ]
    own = [zoommil(extent), Unit("zoommil-eff", "zoommil", (5.0, 10.0), {"k": extent.k})]
    colour = [
        Unit("zoommil-colour", "zoommil", own[0].magnifications, own[0].options, COLOUR),
        Unit("abmil-colour@20x", "abmil", (20.0,), {}, COLOUR),
    ]
    pixels = [Unit("sparseconvmil_pixels@20x", "sparseconvmil_pixels", (20.0,))]
    return [*own, *single, *several, *lower, *colour, *([] if small else pixels)]


def table(rows: Sequence[Row]) -> str:
    """A row for each model."""
    exhaustive = max((row.encoded for row in rows if row.unit.magnifications == (20.0,)), default=0.0)
    header = [
        "model", "magnifications", "seeds", "weighted F1", "AUROC", "accuracy", "encoded patches", "share",
        *(f"{name}: F1" for name in DATA_SETS),
    ]  # fmt: skip
    return markdown_table(header, [_cells(row, exhaustive) for row in rows])


def _cells(row: Row, exhaustive: float) -> list[str]:
    unit = row.unit
    known = {} if unit.encoder else published(unit.model, unit.magnifications)
    return [
        unit.name,
        (" → " if unit.model == "zoommil" else " + ").join(f"{one:g}x" for one in unit.magnifications),
        ", ".join(map(str, row.seeds)),
        *(row.shown(metric) for metric in ("weighted F1", "AUROC", "accuracy")),
        f"{row.encoded:,.0f}",
        f"{row.encoded / exhaustive:.1%}" if exhaustive else DASH,
        *(f"{known[name].f1:.1f} ± {known[name].f1_sd:.1f}" if name in known else DASH for name in DATA_SETS),
    ]


def verdict(rows: Sequence[Row]) -> str:
    """ZoomMIL beside the best peer of a single magnification, on their common seeds, as a sentence."""
    own = next((row for row in rows if row.unit.name == "zoommil"), None)
    if own is None:
        return ""
    peers = [row for row in rows if len(row.unit.magnifications) == 1 and not row.unit.encoder]
    pairs = [pair for peer in peers if (pair := own.beside(peer, F1))]
    if not pairs:
        return ""
    ours, best = min(pairs, key=lambda pair: gain(pair[0], pair[1], F1).mean)
    found = gain(ours, best, F1)
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    return (
        f"ZoomMIL's weighted F1 is {found.points()} points from that of the best single-scale peer, "
        f"{best.unit.name} (over the {seeds} that both have), with {ours.encoded / best.encoded:.1%} of its "
        "encoded patches."
    )


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Weighted F1 against encoded patches."""
    points = [
        Point(
            row.unit.name,
            row.encoded,
            100 * row.metrics[F1].mean,
            100 * row.metrics[F1].sd,
            "ZoomMIL" if row.unit.model == "zoommil" else "peers",
        )
        for row in with_metric(rows, F1)
        if not row.unit.encoder
    ]
    write_scatter(path, {"": points}, "encoded patches per slide", "weighted F1, %", fewer_is_better=True)


experiment = Comparison(
    NAME, units, lambda _: f"\n{NOTE}", lambda rows: f"{table(rows)}\n{verdict(rows)}", draw
)
