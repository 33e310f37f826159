"""Tables and figures of ``nic-rectangles``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.experiments.charts import STYLE, Line, Panel
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.nic_rectangles.cams import KINDS
from napari_zoommil.experiments.nic_rectangles.trials import CONTROLS, ORACLE, Trial
from napari_zoommil.experiments.trial_rows import DASH, Row
from napari_zoommil.experiments.zooming.bars import write_bars
from napari_zoommil.files import write_file
from napari_zoommil.model_card import markdown_table

CHANCE = 0.1
PUBLISHED_JACCARD = 0.612
"""Of Grad-CAM, sec. 4.2; Fig. 6 has no numbers in the text."""

GRAD_CAM = "Grad-CAM"

STATEMENTS = """
What the paper says of its figures: the contrastive encoder is the best of the unsupervised ones and close to
the oracle, then VAE, then BiGAN; accuracy falls quickly for rectangles of less than 10 % of the image; larger
codes help, more so for VAE and BiGAN; a smaller stride is worse; thousands of images are needed.
"""

NOTES = """
Test accuracy (chance 0.1), means ± standard deviations over seeds. *Other*: answers that are the class of the
upright rectangle. *Probe*: accuracy of a linear classifier of digits on the codes. Jaccard index of the
denoised map with the cells of the tilted rectangle, over all test images that are explained, and over those
of right and wrong predictions; the denoising of each kind of map is tuned on validation images. *Pointing*:
share of the images whose highest value lies in that rectangle; of several equal ones (densities have many),
the share that does. *Random* and *all digits* know nothing; *true class*, the density of the digits of the
true class, knows the answer and is the ceiling. `untrained` has random weights, `mean` is the mean grey of a
patch.
"""


def varied(rows: Iterable[Row], *names: str) -> list[Row]:
    """Rows that differ from the default trial in these fields alone."""
    base = Trial()
    same = [field.name for field in fields(Trial) if field.name not in names]
    return [row for row in rows if all(getattr(row.trial, name) == getattr(base, name) for name in same)]


def markdown(rows: Sequence[Row], about: str) -> str:
    """The report."""
    parts = [f"# nic-rectangles\n\n{about}\n{NOTES}{STATEMENTS}", "## Trials\n", _trials(rows)]
    parts += ["## Accuracy by long side of the tilted rectangle in the image (Fig. 6a)\n", _sizes(rows)]
    parts += ["## Agreement of maps with the tilted rectangle (Fig. 7)\n", _maps(rows)]
    return "\n".join(parts) + "\n"


def _trials(rows: Sequence[Row]) -> str:
    header = ["encoder", "code", "stride", "training images, %", "seeds", "accuracy", "other", "probe",
              "encoder's steps", "minutes"]  # fmt: skip
    cells = [
        [
            row.trial.encoder,
            str(row.trial.code),
            str(row.trial.stride),
            f"{100 * row.trial.share:g}",
            str(len(row.results)),
            row.shown("accuracy"),
            row.shown("other"),
            row.shown("encoder", "probe"),
            f"{steps.mean:,.0f}" if (steps := row.mean("encoder", "steps")) else DASH,
            f"{sum(one['seconds'] for one in row.results) / 60:.1f}",
        ]
        for row in rows
    ]
    return markdown_table(header, cells) + "\n"


def _sizes(rows: Sequence[Row]) -> str:
    sizes = sorted({size for row in rows for one in row.results for size in one["by_size"]}, key=float)
    cells = [[row.trial.name, *(row.shown("by_size", size, "accuracy") for size in sizes)] for row in rows]
    return markdown_table(["trial", *(f"{float(size):.0%} and more" for size in sizes)], cells) + "\n"


def _maps(rows: Sequence[Row]) -> str:
    header = ["trial", "Grad-CAM: all", "right", "wrong", "times random", *KINDS[1:], "paper",
              *(f"pointing: {kind}" for kind in KINDS)]  # fmt: skip
    cells = []
    for row in rows:
        own, chance = row.mean("maps", "grad-cam", "jaccard"), row.mean("maps", "random", "jaccard")
        cells.append(
            [
                row.trial.name,
                *(row.shown("maps", "grad-cam", name) for name in ("jaccard", "right", "wrong")),
                f"{own.mean / chance.mean:.1f}" if own and chance and chance.mean else DASH,
                *(row.shown("maps", kind, "jaccard") for kind in KINDS[1:]),
                f"{PUBLISHED_JACCARD}" if row.trial == Trial() else DASH,
                *(row.shown("maps", kind, "pointing") for kind in KINDS),
            ]
        )
    return markdown_table(header, cells) + "\n"


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Fig. 6, with chance and the control encoders in each panel."""
    encoders = _encoders(rows)
    controls = [row for row in encoders if row.trial.encoder in CONTROLS]
    by_code = defaultdict(list)
    for row in varied(rows, "encoder", "code"):
        by_code[row.trial.encoder].append(row)
    return [
        Panel("size of the rectangle (Fig. 6a)", "long side in the image, % and more", "accuracy",
              [*_by_size(encoders), _flat("chance", [30, 50], CHANCE)], (0, 1)),
        _panel("code size (Fig. 6b)", "code", by_code, lambda row: row.trial.code, controls),
        _panel("stride (Fig. 6c)", "stride, px", {ORACLE: varied(rows, "stride")},
               lambda row: row.trial.stride, controls),
        _panel("training images (Fig. 6d)", "%", {ORACLE: varied(rows, "share")},
               lambda row: 100 * row.trial.share, controls),
    ]  # fmt: skip


def _encoders(rows: Sequence[Row]) -> list[Row]:
    """A row for each encoder, with the default code, stride and training images."""
    return [row for row in varied(rows, "encoder", "code") if row.trial.code == 16 or row.trial.code == 1]


def bars(rows: Sequence[Row]) -> dict[str, Mean]:
    """Fig. 7: the Jaccard index of Grad-CAM by encoder, beside the other maps."""
    found: dict[str, Mean | None] = {}
    for row in _encoders(rows):
        found[_own(row.trial)] = row.mean("maps", "grad-cam", "jaccard")
        if row.trial == Trial():
            for answers in ("right", "wrong"):
                found[f"{_own(row.trial)}, {answers} answers"] = row.mean("maps", "grad-cam", answers)
    for kind in KINDS[1:]:
        name = {"true class": "digits of the true class (ceiling)"}.get(kind, f"{kind} (control)")
        means = [mean for row in _encoders(rows) if (mean := row.mean("maps", kind, "jaccard"))]
        found[name] = Mean.of([one.mean for one in means]) if means else None
    return {name: mean for name, mean in found.items() if mean}


def draw_bars(path: Path, rows: Sequence[Row]) -> None:
    """Fig. 7, with the paper's number."""
    title, own = "Grad-CAM (Fig. 7)", bars(rows)
    marked = [name for name in own if name.startswith(GRAD_CAM)]
    write_bars(path, {title: own}, "Jaccard index, %", marked, {title: {_own(Trial()): PUBLISHED_JACCARD}})


def _own(trial: Trial) -> str:
    return f"{GRAD_CAM}, {trial.encoder}"


def _by_size(rows: Iterable[Row]) -> list[Line]:
    lines = []
    for row in rows:
        sizes = sorted({size for one in row.results for size in one["by_size"]}, key=float)
        means = [row.mean("by_size", size, "accuracy") for size in sizes]
        values = [one.mean for one in means if one]
        lines.append(Line(row.trial.encoder, [100 * float(size) for size in sizes], values))
    return lines


def _panel(
    title: str, x: str, groups: Mapping[str, Sequence[Row]], place: Callable[[Row], float],
    controls: Sequence[Row],
) -> Panel:  # fmt: skip
    lines = [_line(name, sorted(own, key=place), place, "accuracy") for name, own in groups.items() if own]
    places = sorted({at for line in lines for at in line.x}) or [0.0]
    for row in controls:
        mean = row.mean("accuracy")
        if mean is not None and row.trial.encoder not in groups:
            lines.append(_flat(row.trial.encoder, places, mean.mean))
    return Panel(title, x, "accuracy", [*lines, _flat("chance", places, CHANCE)], (0, 1))


def _line(name: str, rows: Sequence[Row], place: Callable[[Row], float], *path: str) -> Line:
    means = [mean for row in rows if (mean := row.mean(*path))]
    return Line(name, [place(row) for row in rows], [one.mean for one in means], [one.sd for one in means])


def _flat(name: str, places: Sequence[float], value: float) -> Line:
    return Line(name, list(places), [value] * len(places))


def draw_examples(path: Path, examples: Path) -> None:
    """Masks above maps (Fig. 7); red where the answer was wrong."""
    import matplotlib
    from matplotlib.figure import Figure

    content, (truths, maps, right) = BytesIO(), _read_examples(examples)
    with matplotlib.rc_context(STYLE):
        figure = Figure((1.5 * max(1, len(truths)), 3.2), layout="constrained")
        axes = figure.subplots(2, max(1, len(truths)), squeeze=False)
        for axis in axes.ravel():
            axis.set_axis_off()
        for number, (truth, values, answer) in enumerate(zip(truths, maps, right, strict=True)):
            axes[0, number].imshow(truth, cmap="gray")
            axes[0, number].set_title("right" if answer else "wrong", color="black" if answer else "#c0392b")
            axes[1, number].imshow(values, cmap="magma")
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())


def _read_examples(path: Path) -> tuple[Any, Any, Any]:
    with np.load(path) as content:
        return content["truth"], content["maps"], content["right"]
