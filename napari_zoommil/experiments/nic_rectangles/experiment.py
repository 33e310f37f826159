"""``reproduce nic-rectangles``: encoders, codes, strides, training images, and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.data.mnist import mnist_folder
from napari_zoommil.experiments.nic_rectangles.report import (
    bars,
    draw_examples,
    markdown,
    panels,
    rows_of,
)
from napari_zoommil.experiments.nic_rectangles.training import train_one
from napari_zoommil.experiments.nic_rectangles.trials import EXTENTS, Extent, Trial
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.run_pieces import run_missing
from napari_zoommil.experiments.written import write_results
from napari_zoommil.experiments.zooming.bars import write_bars
from napari_zoommil.jobs.progress import Job

NAME = "nic-rectangles"


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Run each trial without a result, then write tables and figures of all results.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not used.
    """
    extent, mnist = EXTENTS[preset], mnist_folder(data)
    chosen, place = extent.pieces(), choose_device(device).torch
    folder = out / NAME / "pieces"
    made_with = {name: {**extent.described(trial), "seed": seed} for name, (trial, seed) in chosen.items()}
    pieces = Pieces(folder, made_with)
    tasks = {
        name: (*_in_order(chosen[name], extent), mnist, _examples(folder, name), str(place))
        for name in select(chosen, only)
    }
    yield from run_missing(pieces, tasks, train_one, place)
    results = pieces.all()
    rows = rows_of(extent, results)
    figures: dict[str, Callable[[Path], None]] = {
        "figure.svg": lambda path: write_svg(path, panels(rows)),
        "maps.svg": lambda path: write_bars(path, {"Grad-CAM (Fig. 7)": bars(rows)}, "Jaccard index, %"),
    }
    for seed in extent.seeds:
        if (kept := _examples(folder, f"{Trial().name}/{seed}")).exists():
            figures[f"maps-{seed}.png"] = partial(draw_examples, examples=kept)
    content = {"experiment": NAME, "preset": preset, "pieces": results}
    return write_results(out / NAME, content, markdown(rows, described(extent, preset)), figures)


def _in_order(piece: tuple[Trial, int], extent: Extent) -> tuple[Trial, Extent, int]:
    return piece[0], extent, piece[1]


def _examples(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '_')}.npz"


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
