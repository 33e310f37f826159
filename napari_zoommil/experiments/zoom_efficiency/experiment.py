"""``reproduce zoom-efficiency``: patches, multiply-adds and time of the paper's comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from napari_zoommil.encoders.device import choose_device
from napari_zoommil.errors import JobError
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.side_by_side import Tell, processes, side_by_side
from napari_zoommil.experiments.written import RESULTS, TABLE
from napari_zoommil.experiments.zoom_efficiency.measuring import measure
from napari_zoommil.experiments.zoom_efficiency.report import draw, markdown, summarised
from napari_zoommil.experiments.zooming.published import DATA_SETS, DataSet
from napari_zoommil.experiments.zooming.report import FIGURE
from napari_zoommil.files import make_folder, write_file, write_json
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.jobs.progress import retold
from napari_zoommil.synthetic import SyntheticSlide

NAME = "zoom-efficiency"
TISSUE_SHARE = 0.47
"""Of the area of a synthetic slide that is tissue, about."""

PX_40X, SCALE = 512, 40
"""Edge of a patch of 256 px at 20x in px at 40x; magnification of a synthetic slide's first level."""

Part = tuple[DataSet, int]
"""A data set, and the seed of its slide."""


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
    chosen = choose_device(device)
    # ``at_once``: results without it are of versions that measured several slides at the same time.
    described = {
        name: {"slide": asdict(extent.slide(*part)), "device": str(chosen.torch), "at_once": 1}
        for name, part in parts.items()
    }
    pieces = Pieces(out / "pieces" / NAME, described)
    missing = {name: parts[name] for name in select(parts, only) if not pieces.has(name)}
    paths = yield from _drawn(missing, extent, out / "slides")
    for number, (name, (of, seed)) in enumerate(missing.items(), 1):
        title = f"{name}, slide {number} of {len(missing)}: "
        job = measure(of, paths[name], chosen)
        result = yield from retold(job, lambda told, title=title: replace(told, note=title + told.note))  # type: ignore[misc]
        pieces.keep(name, {"data": of.name, "seed": seed, "size": extent.slide(of, seed).size, **result})
    return _written(out, preset, pieces.all())


def _drawn(parts: Mapping[str, Part], extent: Extent, folder: Path) -> Job[dict[str, Path]]:
    """Draw the slides that are missing, on all cores and before anything is measured; returns all paths."""
    make_folder(folder)
    drawings = {name: extent.slide(*part) for name, part in parts.items()}
    paths = {
        name: folder / f"{data.name}_{seed}_{drawings[name].size}.tif" for name, (data, seed) in parts.items()
    }
    tasks = {
        name: (drawings[name], paths[name], round(SCALE / data.magnifications[-1]))
        for name, (data, _) in parts.items()
        if not paths[name].is_file()
    }
    if (count := min(processes(torch.device("cpu")), len(tasks))) > 1:
        with closing(side_by_side(_draw_in_process, tasks, count)) as standings:
            for now in standings:
                note = f"drawing {len(tasks)} slides: {', '.join(now.running)}"
                yield Progress(round(1000 * now.share), 1000, note)
        return paths
    for number, (name, task) in enumerate(tasks.items()):
        yield Progress(number, len(tasks), f"drawing {len(tasks)} slides: {name}")
        _draw(*task)
    return paths


def _draw(drawing: SyntheticSlide, path: Path, finest: int) -> None:
    drawing.write(path, finest=finest)


def _draw_in_process(drawing: SyntheticSlide, path: Path, finest: int, _: Tell) -> None:
    """The same in another process."""
    _draw(drawing, path, finest)


def _written(out: Path, preset: str, results: dict[str, dict[str, Any]]) -> Reproduction:
    """Write the files of the experiment into its own folder."""
    folder = make_folder(out / NAME)
    summary = summarised(results)
    content = {"experiment": NAME, "preset": preset, "summary": summary, "pieces": results}
    write_json(folder / RESULTS, content, indent=1)
    write_file(folder / TABLE, markdown(summary, results).encode())
    draw(folder / FIGURE, summary)
    return Reproduction(folder, tuple(folder / name for name in (RESULTS, TABLE, FIGURE)), content)
