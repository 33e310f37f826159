"""Tables and figures of ``needle-camelyon``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_zoommil.experiments.charts import STYLE, Line, Panel
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.needle_camelyon.crops import SPLITS, CropImages
from napari_zoommil.experiments.needle_camelyon.published import LESIONS, POSITIVE
from napari_zoommil.experiments.needle_camelyon.trials import Extent, Trial, range_of
from napari_zoommil.experiments.trial_rows import by_trial
from napari_zoommil.files import write_file
from napari_zoommil.model_card import markdown_table
from napari_zoommil.models.blocks.bagnet import BagNet

DASH = "–"
CHANCE = 0.5

NOTES = """
Test accuracy of the epoch with the best validation accuracy, in percent, means ± standard deviations over
seeds; chance is 50. *Colour*: a linear classifier of mean and deviation of each colour. The slides are made,
with planted tumours: the task is not that of CAMELYON, the sizes are. The paper shows its results as figures;
its text says: reasonable accuracy above 1 % of lesion; the smallest receptive field (9 px) is the best; no
clear gain with capacity; for the smallest ratio mean and attention are the best poolings.
"""


@dataclass(frozen=True)
class Row:
    """Results of a trial, one per seed."""

    trial: Trial
    results: tuple[Mapping[str, Any], ...]

    def mean(self, what: str = "test") -> Mean:
        """Of an accuracy."""
        return Mean.of([one[what] for one in self.results])


def rows_of(extent: Extent, results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for each trial with results, in their order."""
    return [Row(trial, own) for trial, own in by_trial(extent, results).items()]


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
            *(row.mean(what).percent() for what in ("test", "val", "train", "colour")),
            f"{sum(one['fitted'] is not None for one in row.results)} of {len(row.results)}",
            f"{sum(one['seconds'] for one in row.results) / 60:.1f}",
        ]
        for row in rows
    ]
    return (
        f"# needle-camelyon\n\n{about}\n{NOTES}\n## Trials\n\n{markdown_table(header, cells)}\n\n"
        f"## Lesions and positive crops (Tables 1 and 2)\n\n{_counts(rows)}\n"
    )


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
        _panel("best by validation (Fig. 4)", {"best": _best(rows)}, rows),
        _panel("receptive field (Fig. 7b)", _by(alike(rows, base, "ratio", "field"), "field"), rows),
        _panel("pooling (Fig. 8b)", _by(alike(rows, base, "ratio", "pooling"), "pooling"), rows),
        _panel("filters (Fig. 5c)", _by(alike(rows, base, "ratio", "width"), "width"), rows),
    ]


def _best(rows: Sequence[Row]) -> list[Row]:
    ratios = dict.fromkeys(row.trial.ratio for row in rows)
    groups = ([row for row in rows if row.trial.ratio == ratio] for ratio in ratios)
    return [max(own, key=lambda row: row.mean("val").mean) for own in groups]


def _by(rows: Sequence[Row], field: str) -> dict[str, list[Row]]:
    values = sorted({getattr(row.trial, field) for row in rows})
    units = {"field": "px", "width": "of the filters"}.get(field, "")
    return {
        f"{value:g} {units}" if units else value: [row for row in rows if getattr(row.trial, field) == value]
        for value in values
    }


def _panel(title: str, groups: Mapping[str, Sequence[Row]], rows: Sequence[Row]) -> Panel:
    lines = [_line(name, own, "test") for name, own in groups.items() if own]
    lines.append(_line("colour", list({row.trial.ratio: row for row in rows}.values()), "colour"))
    places = sorted({at for line in lines for at in line.x})
    lines.append(Line("chance", places, [100 * CHANCE] * len(places)))
    return Panel(title, "largest share of lesion, %", "test accuracy, %", lines, (40, 102))


def _line(name: str, rows: Sequence[Row], what: str) -> Line:
    own = sorted(rows, key=lambda row: row.trial.ratio)
    means = [row.mean(what) for row in own]
    return Line(
        name,
        [100 * row.trial.ratio[1] for row in own],
        [100 * one.mean for one in means],
        [100 * one.sd for one in means],
    )


CASES = (("true positive", 1, 1), ("true negative", 0, 0), ("false negative", 1, 0), ("false positive", 0, 1))
"""Figs. 18 to 21: name, label, and answer."""


def draw_examples(path: Path, network: BagNet, images: CropImages, explain: Callable[[Any], Any]) -> None:
    """A crop of each case with its saliency in red, and lesions outlined in green."""
    import matplotlib
    from matplotlib.figure import Figure

    pictures = images.batch(np.arange(len(images)))
    with torch.no_grad():
        answers = np.concatenate([network(torch.from_numpy(part)).argmax(1).numpy()
                                  for part in np.array_split(pictures, -(-len(pictures) // 32))])  # fmt: skip
    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure((2 * len(CASES), 2.3), layout="constrained")
        for axis, (name, label, answer) in zip(figure.subplots(1, len(CASES)), CASES, strict=True):
            axis.set_axis_off()
            own = np.flatnonzero((images.labels == label) & (answers == answer))
            axis.set_title(name if len(own) else f"no {name}", fontsize=8)
            if len(own):
                _draw_one(axis, pictures[own[0]], explain(pictures[own[:1]])[0], images.mask(int(own[0])))
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _draw_one(axis: Any, picture: Any, saliency: Any, mask: Any) -> None:
    red = (saliency / max(float(saliency.max()), 1e-12))[..., None]
    axis.imshow((picture.transpose(1, 2, 0) * (1 - red) + np.array([1.0, 0, 0]) * red).clip(0, 1))
    if mask.any():
        axis.contour(mask, [0.5], colors="#27ae60", linewidths=1)
