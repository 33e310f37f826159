"""``reproduce needle-mnist``: accuracy by ratio of object to image, and what changes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_zoommil.experiments.charts import write_svg
from napari_zoommil.experiments.data.mnist import mnist_folder
from napari_zoommil.experiments.needle_mnist.report import markdown, panels, summary
from napari_zoommil.experiments.needles.bench import Bench, Run
from napari_zoommil.experiments.needles.groups import cells
from napari_zoommil.experiments.needles.trials import EXTENTS, Extent
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.written import write_results
from napari_zoommil.jobs.progress import Job

NAME = "needle-mnist"


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Train each trial without a result, then write tables and figure of all results.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not used.
    """
    bench = Bench(out, EXTENTS[preset], mnist_folder(data))
    runs = yield from bench.trained(only, device)
    found = cells(runs.values())
    return write_results(
        out / NAME,
        {"experiment": NAME, "preset": preset, **summary(found, bench.extent), "runs": _runs(runs)},
        markdown(found, bench.extent, described(bench.extent, preset, list(runs.values()))),
        {"figure.svg": lambda path: write_svg(path, panels(found, bench.extent), legends=True)},
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


def _runs(runs: dict[str, Run]) -> dict[str, dict[str, object]]:
    return {name: run.result for name, run in runs.items()}
