"""``reproduce needle-camelyon``: crops of made slides with a lesion of known size, or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.needle_camelyon.report import draw_examples, markdown, panels, rows_of
from napari_zoommil.experiments.needle_camelyon.slides import drawn
from napari_zoommil.experiments.needle_camelyon.training import images_of, train_one, trained_network
from napari_zoommil.experiments.needle_camelyon.trials import EXTENTS, Extent
from napari_zoommil.experiments.needle_localisation.detection import saliency
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.run_pieces import run_missing
from napari_zoommil.experiments.written import write_results
from napari_zoommil.jobs.progress import Job, Progress

NAME = "needle-camelyon"


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Draw the slides, train each trial without a result, then write tables and figures of all results.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``data`` and ``mpp``
    are not used.
    """
    extent, place = EXTENTS[preset], choose_device(device).torch
    chosen, folder = extent.pieces(), out / NAME / "pieces"
    names = select(chosen, only)
    made_with = {name: {**extent.described(trial), "seed": seed} for name, (trial, seed) in chosen.items()}
    pieces, slides = Pieces(folder, made_with), out / NAME / extent.slides.folder
    for share in drawn(extent.slides, slides):
        yield Progress(round(1000 * share), 1000, f"drawing {extent.slides.count} slides: {share:.0%}")
    tasks = {
        name: (chosen[name][0], extent, chosen[name][1], slides, _weights(folder, name), str(place))
        for name in names
    }
    yield from run_missing(pieces, tasks, train_one, place)
    results = pieces.all()
    rows = rows_of(extent, results)
    figures: dict[str, Callable[[Path], None]] = {
        "figure.svg": lambda path: write_svg(path, panels(rows, extent), legends=True)
    }
    if results:
        first = next(iter(results))
        figures["saliency.png"] = lambda path: _examples(path, first, extent, folder, slides)
    content = {"experiment": NAME, "preset": preset, "pieces": results}
    return write_results(out / NAME, content, markdown(rows, extent, described(extent, preset)), figures)


def _weights(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '_')}.safetensors"


def _examples(path: Path, name: str, extent: Extent, folder: Path, slides: Path) -> None:
    trial, seed = extent.pieces()[name]
    network = trained_network(trial, extent, _weights(folder, name))
    images = images_of(trial, extent, seed, slides)["val"]
    draw_examples(path, network, images, saliency(network, torch.device("cpu")))


def described(extent: Extent, preset: str) -> str:
    """Sentences on the preset."""
    slides = extent.slides
    return (
        f"Preset `{preset}`: {slides.count} made slides of {slides.size:,} px at 40x, {slides.per_centre} of "
        f"each of five centres, every other one with a tumour of {slides.smallest:.2%} to "
        f"{slides.largest:.0%} of the tissue; {extent.per_lesion} crops around each lesion. Network of "
        f"{', '.join(map(str, extent.blocks))} blocks and {extent.base.width:g} of the paper's filters, "
        f"{extent.norm} normalisation; RMSProp with {extent.learning_rate:g}, {extent.epochs} epochs."
    )
