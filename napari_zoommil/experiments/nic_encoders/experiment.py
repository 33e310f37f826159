"""``reproduce nic-encoders``: what a linear classifier finds in the codes of each encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.data.cell_types import CELLS, TILES, data_folder
from napari_zoommil.experiments.nic_encoders.measuring import measure
from napari_zoommil.experiments.nic_encoders.report import answers, draw, markdown
from napari_zoommil.experiments.nic_encoders.settings import EXTENTS, Extent
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.run_pieces import run_missing
from napari_zoommil.experiments.written import write_results
from napari_zoommil.jobs.progress import Job

NAME = "nic-encoders"


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Train and probe each encoder without a result, then write table and figure of all results.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not used.
    """
    extent, root, place = EXTENTS[preset], data_folder(data), choose_device(device).torch
    chosen = extent.pieces()
    made_with = {
        name: {**extent.described(encoder), "seed": seed, "data": root.name}
        for name, (encoder, seed) in chosen.items()
    }
    pieces = Pieces(out / NAME / "pieces", made_with)
    tasks = {name: (*chosen[name], extent, root, str(place)) for name in select(chosen, only)}
    yield from run_missing(pieces, tasks, measure, place)
    results = pieces.all()
    content = {"experiment": NAME, "preset": preset, "answers": answers(results), "pieces": results}
    text = markdown(results, described(extent, preset))
    return write_results(out / NAME, content, text, {"figure.svg": lambda path: draw(path, results)})


def described(extent: Extent, preset: str) -> str:
    """Sentences on the preset."""
    sizes = extent.recipe("vae").sizes
    return (
        f"Preset `{preset}`: encoders of {sizes.edge} px (BiGAN {extent.recipe('bigan').sizes.edge}), codes "
        f"of {sizes.code}, trained on crops of {extent.crops[0]} to {extent.crops[1]} px of `{TILES}`; "
        f"nuclei of `{CELLS}`."
    )
