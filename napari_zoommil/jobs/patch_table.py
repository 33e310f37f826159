"""The patches that a model looked at, with all that is known of each: for CSV and GeoJSON alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import PatchLevel, Rows, magnification_name
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction import Prediction, StepResult
from napari_zoommil.maps.heatmap import kind_of_head, map_title
from napari_zoommil.maps.methods import METHODS, average_of, title_of, unit_of
from napari_zoommil.maps.scales import times_average


@dataclass(frozen=True, eq=False)
class PatchTable:
    """Patches of one magnification, and scores of theirs.

    Attributes
    ----------
    patches : PatchLevel
    rows : (n,) int64
        Of ``patches``.
    zoomed : (n,) bool
        Whether the model zoomed into the patch.
    scores : dict of str to (n,) float
        By title with unit; NaN where there is no score.
    """

    patches: PatchLevel
    rows: Rows
    zoomed: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]


def patch_tables(prediction: Prediction, explanations: Sequence[Explanation] = ()) -> list[PatchTable]:
    """Patches that were looked at or explained, a table for each magnification.

    Parameters
    ----------
    explanations : sequence of Explanation
        Of this prediction; each adds a column for each output.
    """
    tables = []
    for index, level in enumerate(prediction.grid.levels):
        columns = [
            column
            for step in prediction.steps
            if step.level == index
            for column in _columns(prediction, step)
        ]
        columns += [
            (
                " ".join(filter(None, (title_of(one.method), name))) + _unit(prediction, one.method),
                scores.rows,
                values,
            )
            for one in explanations
            for scores in one.scores
            if scores.level == index
            for name, values in zip(_outputs(prediction, one), scores.values, strict=True)
        ]
        if not columns:
            continue
        rows = np.unique(np.concatenate([own for _, own, _ in columns]))
        zoomed = [step.zoomed for step in prediction.steps if step.level == index]
        tables.append(
            PatchTable(
                level,
                rows,
                np.isin(rows, np.concatenate(zoomed)) if zoomed else np.zeros(len(rows), bool),
                {title: _spread(rows, own, values) for title, own, values in columns},
            )
        )
    return tables


def _outputs(prediction: Prediction, explanation: Explanation) -> tuple[str, ...]:
    """What the rows of its scores speak for; an empty name if not for one output."""
    return prediction.task.names if METHODS[explanation.method].per_output else ("",)


def _columns(prediction: Prediction, step: StepResult) -> Iterator[tuple[str, Rows, NDArray[np.float32]]]:
    for head, values in zip(step.heads, step.scores.T, strict=True):
        kind, target = kind_of_head(head, prediction.task.names)
        title = map_title(kind, target)
        yield title, step.rows, values
        if (average := average_of(kind)) is not None:
            yield f"{title} (times the average)", step.rows, times_average(values, average == "softmax")
    for method, values in step.explained.items():
        for name, own in zip(prediction.task.names, values, strict=True):
            yield f"{title_of(method)} {name}{_unit(prediction, method)}", step.rows, own


def _unit(prediction: Prediction, method: str) -> str:
    return f" ({unit_of(method, prediction.task.output_unit)})"


def _spread(rows: Rows, own: Rows, values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values of some rows among others, which have NaN."""
    column = np.full(len(rows), np.nan)
    column[np.searchsorted(rows, own)] = values
    return column


def patches_csv(tables: Sequence[PatchTable], mpp: tuple[float, float] | None) -> bytes:
    """The tables as one CSV: place in level-0 px and µm, share of tissue, scores; empty where unknown.

    Parameters
    ----------
    mpp : (float, float) or None
        Level-0 µm/px of the slide, y and x.
    """
    titles = list(dict.fromkeys(title for table in tables for title in table.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "magnification", "x_px", "y_px", "width_px", "height_px",
            "centre_x_um", "centre_y_um", "tissue_share", "zoomed_into", *titles,
        )
    )  # fmt: skip
    for table in tables:
        writer.writerows(_lines(table, titles, mpp))
    return text.getvalue().encode()


def _lines(
    table: PatchTable, titles: Sequence[str], mpp: tuple[float, float] | None
) -> Iterator[tuple[object, ...]]:
    level, (height, width) = table.patches, table.patches.size
    name = magnification_name(level.magnification)
    missing = np.full(len(table.rows), np.nan)
    scores = np.stack([table.scores.get(title, missing) for title in titles], 1)
    for row, zoomed, values in zip(table.rows, table.zoomed, scores, strict=True):
        y, x = map(float, level.origins[row])
        centre = ((x + width / 2) * mpp[1], (y + height / 2) * mpp[0]) if mpp else ()
        known = ("" if np.isnan(value) else f"{value:.6g}" for value in values)
        yield (
            name, f"{x:g}", f"{y:g}", f"{width:g}", f"{height:g}",
            *([f"{value:.2f}" for value in centre] or ("", "")),
            f"{level.tissue[row]:.3f}", int(zoomed), *known,
        )  # fmt: skip
