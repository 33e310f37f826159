"""``reproduce nic-rectangles``: encoders, codes, strides, training images, and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.data.mnist import mnist_folder
from napari_zoommil.experiments.nic_rectangles.report import draw_bars, draw_examples, markdown, panels
from napari_zoommil.experiments.nic_rectangles.training import train_one
from napari_zoommil.experiments.nic_rectangles.trials import EXTENTS, Extent, Trial
from napari_zoommil.experiments.trial_rows import rows_of
from napari_zoommil.experiments.trials import Report, Results, TrialExperiment, Trials

NAME = "nic-rectangles"


def report(trials: Trials, results: Results, preset: str) -> Report:
    """Tables and figures."""
    extent = trials.extent
    rows = rows_of(extent, results)
    figures: dict[str, Callable[[Path], None]] = {
        "figure.svg": lambda path: write_svg(path, panels(rows)),
        "maps.svg": lambda path: draw_bars(path, rows),
    }
    for seed in extent.seeds:
        if (kept := trials.kept(f"{Trial().name}/{seed}")).exists():
            figures[f"maps-{seed}.png"] = partial(draw_examples, examples=kept)
    return Report({"pieces": results}, markdown(rows, described(extent, preset)), figures)


def described(extent: Extent, preset: str) -> str:
    """Sentences on the preset."""
    plan, network = extent.plan, extent.network
    places = "each in a cell of the grid" if plan.aligned else "anywhere"
    steps = ", ".join(f"{name} {count:,}" for name, count in extent.steps.items()) or "the paper's"
    return (
        f"Preset `{preset}`: images of {plan.size:,} px with {plan.digits:,} digits of 9 px, {places}; long "
        f"sides of {plan.shortest:g} to {plan.longest:g} px, short side {plan.aspect:.2f} of the long one; "
        f"{extent.images['train']:,} training, {extent.images['val']:,} validation, "
        f"{extent.images['test']:,} test images. CNN of {len(network.strides)} separable convolutions of "
        f"{network.width} channels, {network.padding} padding, dropout {network.dropout:g}, "
        f"{network.schedule} from {network.learning_rate:g}, at most {network.epochs} epochs, batches of "
        f"{network.batch}; steps of encoders, at most: {steps}."
    )


experiment = TrialExperiment(
    NAME, EXTENTS, train_one, report, lambda given, *_: mnist_folder(given), ending=".npz"
)
