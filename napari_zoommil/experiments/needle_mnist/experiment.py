"""``reproduce needle-mnist``: accuracy by ratio of object to image, and what changes it."""

from __future__ import annotations

from collections.abc import Sequence

from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.data.mnist import mnist_folder
from napari_zoommil.experiments.needle_mnist.report import markdown, panels, summary
from napari_zoommil.experiments.needles.groups import cells
from napari_zoommil.experiments.needles.training import train_one
from napari_zoommil.experiments.needles.trials import EXTENTS, Extent
from napari_zoommil.experiments.trials import Report, Results, Run, TrialExperiment, Trials

NAME = "needle-mnist"


def report(trials: Trials, results: Results, preset: str) -> Report:
    """Tables and figure."""
    runs, extent = trials.runs(results), trials.extent
    found = cells(runs)
    return Report(
        {**summary(found, extent), "runs": results},
        markdown(found, extent, described(extent, preset, runs)),
        {"figure.svg": lambda path: write_svg(path, panels(found, extent), legends=True)},
    )


def described(extent: Extent, preset: str, runs: Sequence[Run]) -> str:
    """Sentences on the preset and its cost."""
    base, minutes = extent.base, sum(run.result["seconds"] for run in runs) / 60
    return (
        f"Preset `{preset}`: digits of {base.canvas.digit} px, {base.train:,} training, {extent.val:,} "
        f"validation and {extent.test:,} test images; the trial from which the others differ has a receptive "
        f"field of {base.field} px, {base.pooling} pooling, {base.norm} normalisation, {base.width:g} of the "
        f"paper's filters, {', '.join(map(str, extent.blocks))} blocks; RMSProp with "
        f"{extent.learning_rate:g}, {extent.epochs} epochs, batches of {extent.batch}. {len(runs)} "
        f"trainings, {minutes:.0f} minutes of one thread."
    )


experiment = TrialExperiment(
    NAME,
    EXTENTS,
    train_one,
    report,
    lambda given, *_: mnist_folder(given),
    folder="needles",
    ending=".safetensors",
)
"""``needle-localisation`` shares its trainings."""
