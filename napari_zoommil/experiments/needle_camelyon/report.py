"""Tables and figures of ``needle-camelyon``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_zoommil.experiments.charts import STYLE, Line, Panel
from napari_zoommil.experiments.needle_camelyon.crops import LEAST, CropImages
from napari_zoommil.experiments.needle_camelyon.published import LESIONS, POSITIVE
from napari_zoommil.experiments.needle_camelyon.trials import Extent, Trial, range_of
from napari_zoommil.experiments.needles.fitting import SPLITS, at_once
from napari_zoommil.experiments.needles.groups import CHANCE
from napari_zoommil.experiments.trial_rows import DASH, Row
from napari_zoommil.files import write_file
from napari_zoommil.model_card import markdown_table
from napari_zoommil.models.blocks.bagnet import BagNet

NOTES = f"""
Test accuracy of the epoch with the best validation accuracy, in percent, means ± standard deviations over
seeds; chance is 50. *Validation* is the accuracy that chose the epoch, *training* the highest of an epoch,
*fitted* the runs with more than 99 % of the training images right; the paper's figures count others as
chance. *Colour*: a linear classifier of mean and deviation of each colour. All test crops are of one centre,
with textures that are not trained on. Where a split has fewer than {LEAST} crops of a class, nothing is
trained. The slides are made, with planted tumours: the task is not that of CAMELYON, the sizes are. The
paper shows its results as figures; its text says: reasonable accuracy above 1 % of lesion; the smallest
receptive field (9 px) is the best; no clear gain with capacity; for the smallest ratio mean and attention
are the best poolings.
"""


def alike(rows: Iterable[Row], base: Trial, *varied: str) -> list[Row]:
    """Rows that differ from a trial in these fields alone."""
    same = [field.name for field in fields(Trial) if field.name not in varied]
    return [row for row in rows if all(getattr(row.trial, n) == getattr(base, n) for n in same)]


def markdown(rows: Sequence[Row], extent: Extent, about: str) -> str:
    """The report."""
    header = ["trial", "seeds", "test", "validation", "training", "colour", "fitted", "minutes"]
    cells = [
        [
            row.trial.name(extent.base),
            str(len(row.results)),
            *(_percent(row, what) for what in ("test", "val", "train", "colour")),
            f"{sum(one.get('fitted') is not None for one in row.results)} of {len(row.results)}",
            f"{sum(one.get('seconds', 0) for one in row.results) / 60:.1f}",
        ]
        for row in rows
    ]
    return (
        f"# needle-camelyon\n\n{about}\n{NOTES}\n## Trials\n\n{markdown_table(header, cells)}\n\n"
        f"## Lesions and positive crops (Tables 1 and 2)\n\n{_counts(rows)}\n"
    )


def _percent(row: Row, what: str) -> str:
    mean = row.mean(what)
    return mean.percent() if mean else DASH


def _counts(rows: Sequence[Row]) -> str:
    """Training, validation and test; as many negative crops unless they were not found."""
    own = {(row.trial.ratio, row.trial.edge): row.results[0]["counts"] for row in rows}
    header = ["lesion, %", "crop, px", "lesions", "paper", "positive crops", "paper", "negative crops"]
    cells = []
    for (ratio, edge), counts in own.items():
        numbers = [" / ".join(str(counts[split][place]) for split in SPLITS) for place in range(3)]
        known = [_shown(table[range_of(ratio)].get(edge)) for table in (LESIONS, POSITIVE)]
        cells.append([range_of(ratio), str(edge), numbers[0], known[0], numbers[1], known[1], numbers[2]])
    return markdown_table(header, cells)


def _shown(counts: Sequence[int] | None) -> str:
    return " / ".join(map(str, counts)) if counts else DASH


def panels(rows: Sequence[Row], extent: Extent) -> list[Panel]:
    """Figs. 4, 7b, 8b and 5c, with chance and colour in each."""
    base = extent.base
    return [
        _panel("size of the crops (Fig. 4)", _by(alike(rows, base, "ratio", "edge"), "edge")),
        _panel("receptive field (Fig. 7b)", _by(alike(rows, base, "ratio", "field"), "field")),
        _panel("pooling (Fig. 8b)", _by(alike(rows, base, "ratio", "pooling"), "pooling")),
        _panel("filters (Fig. 5c)", _by(alike(rows, base, "ratio", "width"), "width")),
    ]


def _by(rows: Sequence[Row], field: str) -> dict[str, list[Row]]:
    values = sorted({getattr(row.trial, field) for row in rows})
    units = {"edge": "px", "field": "px", "width": "of the filters"}.get(field, "")
    return {
        f"{value:g} {units}" if units else value: [row for row in rows if getattr(row.trial, field) == value]
        for value in values
    }


def _panel(title: str, groups: Mapping[str, Sequence[Row]]) -> Panel:
    lines = [_line(name, own, "test") for name, own in groups.items()]
    images = {(row.trial.ratio, row.trial.edge): row for own in groups.values() for row in own}
    lines += [
        _line(f"colour, {edge}", own, "colour") for edge, own in _by([*images.values()], "edge").items()
    ]
    lines = [line for line in lines if line.x]
    lowest = min([100 * CHANCE, *(value for line in lines for value in line.y)])
    places = sorted({at for line in lines for at in line.x})
    lines.append(Line("chance", places, [100 * CHANCE] * len(places)))
    return Panel(title, "largest share of lesion, %", "test accuracy, %", lines, (lowest - 10, 102))


def _line(name: str, rows: Sequence[Row], what: str) -> Line:
    own = [(row.trial.ratio[1], mean) for row in rows if (mean := row.mean(what))]
    own.sort(key=lambda pair: pair[0])
    return Line(
        name,
        [100 * ratio for ratio, _ in own],
        [100 * mean.mean for _, mean in own],
        [100 * mean.sd for _, mean in own],
    )


CASES = (("true positive", 1, 1), ("true negative", 0, 0), ("false negative", 1, 0), ("false positive", 0, 1))
"""Figs. 18 to 21: name, label, and answer."""


def draw_examples(path: Path, network: BagNet, images: CropImages, explain: Callable[[Any], Any]) -> None:
    """A crop of each case with its saliency in red, and lesions outlined in green."""
    import matplotlib
    from matplotlib.figure import Figure

    parts = np.array_split(np.arange(len(images)), -(-len(images) // at_once(images, 32)))
    with torch.no_grad():
        answers = np.concatenate(
            [network(torch.from_numpy(images.batch(part))).argmax(1).numpy() for part in parts]
        )
    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure((2 * len(CASES), 2.3), layout="constrained")
        for axis, (name, label, answer) in zip(figure.subplots(1, len(CASES)), CASES, strict=True):
            axis.set_axis_off()
            own = np.flatnonzero((images.labels == label) & (answers == answer))
            axis.set_title(name if len(own) else f"no {name}", fontsize=8)
            if len(own):
                picture = images.batch(own[:1])
                _draw_one(axis, picture[0], explain(picture)[0], images.mask(int(own[0])))
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _draw_one(axis: Any, picture: Any, saliency: Any, mask: Any) -> None:
    red = (saliency / max(float(saliency.max()), 1e-12))[..., None]
    axis.imshow((picture.transpose(1, 2, 0) * (1 - red) + np.array([1.0, 0, 0]) * red).clip(0, 1))
    if mask.any():
        axis.contour(mask, [0.5], colors="#27ae60", linewidths=1)
