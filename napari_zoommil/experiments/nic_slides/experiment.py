"""``reproduce nic-slides``: a class and a number of whole slides, by encoder, and Grad-CAM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.nic_slides.codes import HOME, prepared
from napari_zoommil.experiments.nic_slides.figures import (
    draw_examples,
    has_examples,
    map_bars,
    panels,
    published,
    tables,
)
from napari_zoommil.experiments.nic_slides.report import markdown
from napari_zoommil.experiments.nic_slides.training import train_one
from napari_zoommil.experiments.nic_slides.trials import (
    BASE_STRIDE,
    ENCODERS,
    EXTENTS,
    METHODS,
    SHIPPED,
    TASKS,
    Extent,
    Trial,
    default_code,
    is_made,
)
from napari_zoommil.experiments.pieces import select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.trial_rows import rows_of
from napari_zoommil.experiments.trials import Trials
from napari_zoommil.experiments.written import write_results
from napari_zoommil.experiments.zooming.bars import write_bars
from napari_zoommil.experiments.zooming.cohort import described as cohort_described
from napari_zoommil.experiments.zooming.cohort import made, planned
from napari_zoommil.jobs import Job

NAME = HOME

NO_CONTROLS = (*METHODS, SHIPPED)
"""Whose bars have a colour of their own."""


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Draw the slides, train encoders, compress the slides, run each trial without a result.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``data`` and ``mpp``
    are not used.
    """
    extent = EXTENTS[preset]
    trials = Trials(extent, train_one, out / NAME / "pieces", out, ".npz")
    chosen = extent.pieces()
    left = [chosen[name][0] for name in select(chosen, only) if not trials.pieces.has(name)]
    codes = [trial.code for trial in left]
    if codes:
        yield from made(extent.cohort, out / extent.cohort.folder)
    if any(map(is_made, codes)):
        yield from made(extent.encoders.cohort, out / extent.encoders.cohort.folder)
    encoders = yield from prepared(out, extent, codes, choose_device(device).torch)
    results = yield from trials.run(only, device)
    rows = rows_of(extent, results)
    figures: dict[str, Callable[[Path], None]] = {
        "figure.svg": lambda path: write_svg(path, panels(rows)),
        "encoders.svg": lambda path: write_bars(
            path, tables(rows), "AUC or correlation, %", NO_CONTROLS, published()
        ),
    }
    if bars := map_bars(rows):
        figures["maps.svg"] = lambda path: write_bars(path, bars, "Jaccard index, %", NO_CONTROLS)
    for task in TASKS:
        names = {one: f"{Trial(task, default_code(one)).name}/{extent.seeds[0]}" for one in ENCODERS}
        if kept := {
            one: path for one, name in names.items()
            if name in results and has_examples(path := trials.kept(name))
        }:  # fmt: skip
            figures[f"maps-{task}.png"] = partial(draw_examples, examples=kept)
    content = {"experiment": NAME, "preset": preset, "encoders": encoders, "pieces": results}
    text = markdown(rows, encoders, extent, described(extent, preset, out))
    return write_results(out / NAME, content, text, figures)


def described(extent: Extent, preset: str, out: Path) -> str:
    """Sentences on the preset."""
    how, edge = extent.encoders, extent.region
    steps = ", ".join(f"{name} {count:,}" for name, count in how.steps.items())
    settings = ", ".join(f"{name} {value}" for name, value in extent.settings.items()) or "all of it"
    splits = Counter(one.split for one in planned(how.cohort))
    return (
        f"Preset `{preset}`: {cohort_described(extent.cohort, out)} Encoders are trained on "
        f"{splits['train']} other slides, and validated on {splits['val']}; recipe `{how.recipe}`, steps at "
        f"most: {steps or 'the recipe’s'}. Patches of {BASE_STRIDE} px at 20x, crops of {edge} × {edge} "
        f"patches, views: {extent.views}; model `nic`, recipe `{extent.recipes[TASKS[0]]}` for the class and "
        f"`{extent.recipes[TASKS[1]]}` for the number, {settings}; {extent.folds} partitions, of the class "
        "the last one of the slides with other textures. A large tumour takes "
        f"{extent.macro:.0%} of the tissue and more."
    )
