"""``reproduce needle-localisation``: average precision of saliency, by pooling and receptive field."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.charts import STYLE, Line, Panel, write_svg
from napari_zoommil.experiments.means import Mean
from napari_zoommil.experiments.needle_localisation.detection import (
    brightness,
    localised,
    random_map,
    saliency,
)
from napari_zoommil.experiments.needle_mnist.experiment import experiment as needles
from napari_zoommil.experiments.needles.fitting import at_once
from napari_zoommil.experiments.needles.training import data_sets, network_of, trained_network
from napari_zoommil.experiments.needles.trials import Extent, Trial
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.trial_rows import by_trial
from napari_zoommil.experiments.trials import Trials
from napari_zoommil.experiments.written import write_results
from napari_zoommil.files import write_file
from napari_zoommil.jobs.progress import Job
from napari_zoommil.model_card import markdown_table

NAME = "needle-localisation"
KINDS = ("saliency", "untrained", "brightness", "random")
"""Saliency of the trained network, and three controls: of one with random weights, the brightest square of
the size of a digit, and a random place."""

SHOWN = 6
NOTES = """
The place of the highest saliency (absolute gradient of the logit of "there is a 3" by the pixels) on
validation images is a detection, its saliency the confidence; one outside the 3 is a false positive and a
false negative, and on an image without a 3 it is a false positive. *Pointing*: share of the images with a 3
on which it lies on it. The controls are the saliency of an untrained network, the brightest square of the
size of a digit, and a random place. The paper's Fig. 17 has no numbers in the text, which says: detection
becomes worse with smaller objects for all poolings; max is the best where they are small, log-sum-exp where
they are large.
"""


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Train what of ``needle-mnist`` is missing, then localise by each network.

    Trainings are shared with ``needle-mnist`` of the same folder. The parameters are those of
    :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not used.
    """
    trained = needles.trials(out, preset, data)
    trained = replace(trained, extent=localised_trials(trained.extent))
    yield from trained.run(only, device)
    own = replace(trained, work=measure, folder=out / NAME / "pieces", kept_in=trained.folder)
    results = yield from own.run(only, device)
    rows = [Row(trial, each) for trial, each in by_trial(own.extent, results).items()]
    figures: dict[str, Callable[[Path], None]] = {
        "figure.svg": lambda path: write_svg(path, panels(rows, own.extent.base), legends=True),
        "saliency.png": lambda path: draw_examples(path, own, next(iter(results))),
    }
    content = {"experiment": NAME, "preset": preset, "pieces": results}
    text = f"# {NAME}\n{NOTES}\n{table(rows, own.extent)}\n"
    return write_results(out / NAME, content, text, figures if results else {})


def localised_trials(extent: Extent) -> Extent:
    """With the trials of Fig. 17 among those of ``needle-mnist``: canvases, poolings, receptive fields."""
    base = extent.base
    return replace(
        extent,
        trials=tuple(
            (trial, seeds)
            for trial, seeds in extent.trials
            if trial == Trial(trial.canvas, trial.field, trial.pooling, base.width, base.norm, base.train)
            and trial.canvas.noise == base.canvas.noise
            and (trial.field == base.field or trial.pooling == base.pooling)
        ),
    )


def measure(
    trial: Trial, extent: Extent, seed: int, mnist: Path, weights: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Localise by a trained network, and by the controls."""
    images, place = data_sets(trial, extent, mnist, seed)["val"], torch.device(device)
    with own_random_numbers(seed + 1):
        untrained = network_of(trial, extent).to(place)
    trained = trained_network(trial, extent, weights).to(place)
    explains = (
        saliency(trained, place),
        saliency(untrained, place),
        brightness(trial.canvas.digit),
        random_map(seed),
    )
    found: dict[str, Any] = {}
    for number, (kind, explain) in enumerate(zip(KINDS, explains, strict=True)):
        yield number / len(KINDS)
        found[kind] = asdict(localised(images, explain, at_once(images, extent.batch)))
    return found


@dataclass(frozen=True)
class Row:
    """Results of a trial, one per seed."""

    trial: Trial
    results: tuple[Mapping[str, Any], ...]

    def mean(self, kind: str, what: str = "precision") -> Mean:
        return Mean.of([one[kind][what] for one in self.results])


def table(rows: Sequence[Row], extent: Extent) -> str:
    """A row for each trial, in percent."""
    header = [
        "trial", "object to image, %", "seeds", "average precision", "pointing", "Jaccard",
        *(f"{kind}: precision" for kind in KINDS[1:]), *(f"{kind}: pointing" for kind in KINDS[1:]),
    ]  # fmt: skip
    cells = [
        [
            row.trial.name(extent.base),
            f"{100 * row.trial.canvas.ratio:.2g}",
            str(len(row.results)),
            row.mean("saliency").percent(),
            row.mean("saliency", "pointing").percent(),
            row.mean("saliency", "jaccard").percent(),
            *(row.mean(kind).percent() for kind in KINDS[1:]),
            *(row.mean(kind, "pointing").percent() for kind in KINDS[1:]),
        ]
        for row in rows
    ]
    return markdown_table(header, cells)


def panels(rows: Sequence[Row], base: Trial) -> list[Panel]:
    """Fig. 17: by pooling, and by receptive field, with the controls in both."""
    by_pooling = [row for row in rows if row.trial.field == base.field]
    by_field = [row for row in rows if row.trial.pooling == base.pooling]
    return [
        _panel("pooling (Fig. 17a)", by_pooling, lambda trial: trial.pooling),
        _panel("receptive field (Fig. 17b)", by_field, lambda trial: f"{trial.field} px"),
    ]


def _panel(title: str, rows: Sequence[Row], group: Callable[[Trial], str]) -> Panel:
    lines = []
    for name in dict.fromkeys(group(row.trial) for row in rows):
        lines.append(_line(name, [row for row in rows if group(row.trial) == name], "saliency"))
    alike = list({row.trial.canvas.ratio: row for row in rows}.values())
    lines += [_line(kind, alike, kind) for kind in KINDS[1:]]
    return Panel(title, "object to image, %", "average precision, %", lines, (0, 102))


def _line(name: str, rows: Sequence[Row], kind: str) -> Line:
    own = sorted(rows, key=lambda row: row.trial.canvas.ratio)
    means = [row.mean(kind) for row in own]
    return Line(
        name,
        [100 * row.trial.canvas.ratio for row in own],
        [100 * one.mean for one in means],
        [100 * one.sd for one in means],
    )


def draw_examples(path: Path, trials: Trials, name: str) -> None:
    """Fig. 16: validation images with saliency in red, and the 3 outlined."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    trial, seed = trials.extent.pieces()[name]
    images = data_sets(trial, trials.extent, trials.data, seed)["val"]
    network = trained_network(trial, trials.extent, trials.kept(name))
    rows = np.arange(min(SHOWN, len(images)))
    pictures = images.batch(rows)
    maps = saliency(network, torch.device("cpu"))(pictures)
    with torch.no_grad():
        answers = network(torch.from_numpy(pictures)).argmax(1).tolist()
    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure((1.6 * len(rows), 1.9), layout="constrained")
        axes = figure.subplots(1, len(rows), squeeze=False)[0]
        for axis, row, picture, values in zip(axes, rows.tolist(), pictures[:, 0], maps, strict=True):
            red = values / max(float(values.max()), 1e-12)
            axis.imshow(np.stack([np.maximum(picture, red), picture, picture], 2).clip(0, 1))
            if images.labels[row]:
                y, x = images.placed(row).corners[0]
                edge = trial.canvas.digit
                axis.add_patch(Rectangle((x - 0.5, y - 0.5), edge, edge, fill=False, edgecolor="#3498db"))
            axis.set_title(f"y {images.labels[row]}, ŷ {answers[row]}", fontsize=8)
            axis.set_axis_off()
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_file(path, content.getvalue())
