"""``reproduce zoom-efficiency``: patches, multiply-adds and time of the paper's comparison."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.errors import JobError
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.side_by_side import Tell, processes, side_by_side
from napari_zoommil.experiments.zoom_efficiency.measuring import measure
from napari_zoommil.experiments.zoom_efficiency.report import draw, markdown, summarised
from napari_zoommil.experiments.zooming.published import DATA_SETS, DataSet
from napari_zoommil.experiments.zooming.report import FIGURE, RESULTS, TABLE
from napari_zoommil.files import make_folder, write_file, write_json
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.synthetic import SyntheticSlide

NAME = "zoom-efficiency"
TISSUE_SHARE = 0.47
"""Of the area of a synthetic slide that is tissue, about."""

PX_40X, SCALE = 512, 40
"""Edge of a patch of 256 px at 20x in px at 40x; magnification of a synthetic slide's first level."""


@dataclass(frozen=True)
class Extent:
    """A preset.

    Attributes
    ----------
    data : tuple of str
        Data sets of the paper.
    share : float
        Size of the measured slides: their tissue over that of the data set's mean slide.
    seeds : tuple of int
        One slide for each data set and seed.
    """

    data: tuple[str, ...] = tuple(DATA_SETS)
    share: float = 1.0
    seeds: tuple[int, ...] = (0, 1, 2)

    def slide(self, data: DataSet, seed: int) -> SyntheticSlide:
        """A slide with about as much tissue as the mean one of a data set."""
        edge = math.sqrt(self.share * data.patches_20x * PX_40X**2 / TISSUE_SHARE)
        return SyntheticSlide(seed, max(2048, round(edge / 1024) * 1024), False)


EXTENTS = {"cpu": Extent(), "paper": Extent()}
"""Both measure slides of the paper's sizes; ``paper`` is meant for a GPU."""


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Measure each piece (a data set and a seed) without a result, then write tables and figure.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not used.

    Raises
    ------
    JobError
        If ``data`` is given, ``only`` matches no piece, or a result in the folder has other settings.
    """
    if data is not None:
        raise JobError("zoom-efficiency measures synthetic slides; leave the data out")
    extent = EXTENTS[preset]
    parts = {f"{name}/{seed}": (DATA_SETS[name], seed) for seed in extent.seeds for name in extent.data}
    described = {
        name: {"slide": asdict(extent.slide(*part)), "device": device} for name, part in parts.items()
    }
    pieces = Pieces(out / "pieces" / NAME, described)
    missing = [name for name in select(parts, only) if not pieces.has(name)]
    yield from _measure_all(missing, parts, pieces, out, extent, device)
    return _written(out, preset, pieces.all())


def _measure_all(
    missing: list[str],
    parts: dict[str, tuple[DataSet, int]],
    pieces: Pieces,
    out: Path,
    extent: Extent,
    device: str,
) -> Job[None]:
    tasks = {name: (name, *parts[name], pieces, out, extent, device) for name in missing}
    count = min(processes(choose_device(device).torch), len(tasks))
    if count > 1:
        with closing(side_by_side(_measure_in_process, tasks, count)) as standings:
            for now in standings:
                note = f"{now.share:.1%} of {len(tasks)} slides: {', '.join(now.running)}"
                yield Progress(round(1000 * now.share), 1000, note)
        return
    for number, (name, task) in enumerate(tasks.items(), 1):
        with closing(_measure_one(*task)) as steps:
            for done, total in steps:
                note = f"{name}, slide {number} of {len(tasks)}: {done:,} of {total:,} patches"
                yield Progress(done, total, note)


def _measure_in_process(*task: Any) -> None:
    """The same in another process."""
    *arguments, tell = task
    told: Tell = tell
    for done, total in _measure_one(*arguments):
        told(done / total)


def _measure_one(
    name: str, data: DataSet, seed: int, pieces: Pieces, out: Path, extent: Extent, device: str
) -> Generator[tuple[int, int], None, None]:
    """Draw the slide if it is missing, measure, and write the result."""
    drawing = extent.slide(data, seed)
    finest = round(SCALE / data.magnifications[-1])
    path = make_folder(out / "slides") / f"{data.name}_{seed}_{drawing.size}.tif"
    if not path.is_file():
        yield 0, 1
        drawing.write(path, finest=finest)
    result = yield from measure(data, path, choose_device(device))
    pieces.keep(name, {"data": data.name, "seed": seed, "size": drawing.size, **result})


def _written(out: Path, preset: str, results: dict[str, dict[str, Any]]) -> Reproduction:
    """Write the files of the experiment into its own folder."""
    folder = make_folder(out / NAME)
    summary = summarised(results)
    content = {"experiment": NAME, "preset": preset, "summary": summary, "pieces": results}
    write_json(folder / RESULTS, content, indent=1)
    write_file(folder / TABLE, markdown(summary, results).encode())
    draw(folder / FIGURE, summary)
    return Reproduction(folder, tuple(folder / name for name in (RESULTS, TABLE, FIGURE)), content)
