"""``reproduce nic-encoders``: what a linear classifier finds in the codes of each encoder."""

from __future__ import annotations

from napari_zoommil.experiments.data.cell_types import CELLS, TILES, data_folder
from napari_zoommil.experiments.nic_encoders.measuring import measure
from napari_zoommil.experiments.nic_encoders.report import answers, draw, markdown
from napari_zoommil.experiments.nic_encoders.settings import EXTENTS, Extent
from napari_zoommil.experiments.trials import Report, Results, TrialExperiment, Trials

NAME = "nic-encoders"


def report(trials: Trials, results: Results, preset: str) -> Report:
    """Table and figure."""
    return Report(
        {"answers": answers(results), "pieces": results},
        markdown(results, described(trials.extent, preset)),
        {"figure.svg": lambda path: draw(path, results)},
    )


def described(extent: Extent, preset: str) -> str:
    """Sentences on the preset."""
    sizes = extent.recipe("vae").sizes
    return (
        f"Preset `{preset}`: encoders of {sizes.edge} px (BiGAN {extent.recipe('bigan').sizes.edge}), codes "
        f"of {sizes.code}, trained on crops of {extent.crops[0]} to {extent.crops[1]} px of `{TILES}`; "
        f"nuclei of `{CELLS}`."
    )


experiment = TrialExperiment(
    NAME, EXTENTS, measure, report, lambda given, *_: data_folder(given), names_data=True
)
