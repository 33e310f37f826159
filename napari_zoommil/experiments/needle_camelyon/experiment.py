"""``reproduce needle-camelyon``: crops of made slides with a lesion of known size, or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.needle_camelyon.report import draw_examples, markdown, panels
from napari_zoommil.experiments.needle_camelyon.slides import drawn
from napari_zoommil.experiments.needle_camelyon.training import images_of, train_one, trained_network
from napari_zoommil.experiments.needle_camelyon.trials import EXTENTS, Extent
from napari_zoommil.experiments.needle_localisation.detection import saliency
from napari_zoommil.experiments.trial_rows import rows_of
from napari_zoommil.experiments.trials import Report, Results, TrialExperiment, Trials
from napari_zoommil.jobs.progress import Job, Progress

NAME = "needle-camelyon"


def report(trials: Trials, results: Results, preset: str) -> Report:
    """Tables and figures."""
    extent = trials.extent
    rows = rows_of(extent, results)
    figures: dict[str, Callable[[Path], None]] = {
        "figure.svg": lambda path: write_svg(path, panels(rows, extent), legends=True)
    }
    if learnt := {name: one["val"] for name, one in results.items() if "val" in one}:
        best = max(learnt, key=learnt.__getitem__)
        figures["saliency.png"] = lambda path: _examples(path, trials, best)
    return Report({"pieces": results}, markdown(rows, extent, described(extent, preset)), figures)


def draw(extent: Extent, folder: Path) -> Job[None]:
    """Draw the slides that are missing."""
    for share in drawn(extent.slides, folder):
        yield Progress(round(1000 * share), 1000, f"drawing {extent.slides.count} slides: {share:.0%}")


def _examples(path: Path, trials: Trials, name: str) -> None:
    trial, seed = trials.extent.pieces()[name]
    network = trained_network(trial, trials.extent, trials.kept(name))
    images = images_of(trial, trials.extent, seed, trials.data)["val"]
    draw_examples(path, network, images, saliency(network, torch.device("cpu")))


def described(extent: Extent, preset: str) -> str:
    """Sentences on the preset."""
    slides = extent.slides
    return (
        f"Preset `{preset}`: {slides.count} made slides of {slides.size:,} px at 40x, {slides.per_centre} of "
        f"each of five centres, every other one with a tumour of {slides.smallest:.3%} to "
        f"{slides.largest:.2%} of the tissue; {extent.per_lesion} crops around each lesion. Network of "
        f"{', '.join(map(str, extent.blocks))} blocks and {extent.base.width:g} of the paper's filters, "
        f"{extent.norm} normalisation; RMSProp with {extent.learning_rate:g}, {extent.epochs} epochs."
    )


experiment = TrialExperiment(
    NAME,
    EXTENTS,
    train_one,
    report,
    lambda _, extent, folder: folder / extent.slides.folder,
    draw,
    ending=".safetensors",
)
