"""The cohort of the experiments ``zoom-*``: synthetic slides of three classes, or a folder of the user's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.shipped.nic_encoder import TEST_TEXTURES, TRAIN_TEXTURES
from napari_zoommil.experiments.side_by_side import Tell, processes, side_by_side
from napari_zoommil.files import make_folder, write_table
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.synthetic import SyntheticSlide
from napari_zoommil.training.mil.table import read_table

TABLE = "cohort.csv"
COLUMNS = ("slide", "label", "split", "group", "fraction")
LABELS = ("plain", "scirrhous", "solid")
"""Without a tumour, and with one that grows in thin cords or in large nests."""

SPLITS = tuple({"t": "train", "v": "val", "x": "test"}[letter] for letter in "tttttvvxxxtxtvxtx")
"""Splits of 17 slides of a class in turn: 8 for training, 3 for validation, 6 for testing."""


AT_ONCE = 6
"""Slides that a process draws."""


@dataclass(frozen=True)
class MadeCohort:
    """A cohort of synthetic slides at 40x.

    Attributes
    ----------
    slides : int
    size : int
        Edge of a slide, level-0 px.
    smallest, largest : float
        Share of the tumour in the tissue; logarithms are uniform in between.
    first_seed : int
        Seed of the first slide.
    """

    slides: int
    size: int
    smallest: float = 0.01
    largest: float = 0.08
    first_seed: int = 50_000

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"cohort-{self.slides}x{self.size}"


@dataclass(frozen=True)
class PlannedSlide:
    """A slide of a made cohort, and its row of the table."""

    name: str
    label: str
    split: str
    drawing: SyntheticSlide

    @property
    def row(self) -> dict[str, str]:
        fraction = self.drawing.tumour_fraction if self.drawing.tumour else 0.0
        group = self.name.removesuffix(".tif")
        return {
            "slide": self.name,
            "label": self.label,
            "split": self.split,
            "group": group,
            "fraction": f"{fraction:.5f}",
        }


def planned(cohort: MadeCohort) -> Iterator[PlannedSlide]:
    """All slides of a made cohort; test slides have other textures than training and validation slides."""
    for number in range(cohort.slides):
        label, place = LABELS[number % len(LABELS)], number // len(LABELS)
        split = SPLITS[place % len(SPLITS)]
        seed = cohort.first_seed + number
        textures = TEST_TEXTURES if split == "test" else TRAIN_TEXTURES
        share = np.exp(np.random.default_rng(seed).uniform(np.log(cohort.smallest), np.log(cohort.largest)))
        drawing = SyntheticSlide(
            seed,
            cohort.size,
            label != "plain",
            float(share),
            textures[place % len(textures)],
            tumour_pattern="" if label == "plain" else label,
        )
        yield PlannedSlide(f"{label}_{number:03d}.tif", label, split, drawing)


def made(cohort: MadeCohort, folder: Path) -> Job[Path]:
    """Draw the slides that are missing in a folder, on all cores; returns the table of the cohort.

    Raises
    ------
    JobError
        If the folder has the slides of another cohort.
    """
    slides, table = list(planned(cohort)), make_folder(folder) / TABLE
    _claim(table, [one.row for one in slides])
    missing = [one for one in slides if not (folder / one.name).is_file()]
    tasks = {part[0].name: (part, folder) for part in _parts(missing)}
    if (count := min(processes(torch.device("cpu")), len(tasks))) > 1:
        with closing(side_by_side(_draw_in_process, tasks, count)) as standings:
            for now in standings:
                note = f"drawing {len(missing)} slides: {now.share:.0%}"
                yield Progress(round(1000 * now.share), 1000, note)
    elif missing:
        for number, name in enumerate(_drawn([one for part, _ in tasks.values() for one in part], folder), 1):
            yield Progress(number, len(missing), f"drawing {len(missing)} slides: {name} is drawn")
    return table


def _claim(table: Path, rows: list[dict[str, str]]) -> None:
    """Write the table before any slide: cohorts of as many slides of a size have the same folder."""
    if not table.exists():
        write_table(table, COLUMNS, rows)
    elif [{name: one[name] for name in COLUMNS} for one in read_table(table, COLUMNS)] != rows:
        raise JobError(f"{table.parent} has the slides of another cohort; remove it, or use another folder")


def _parts(slides: list[PlannedSlide]) -> Iterator[list[PlannedSlide]]:
    """Slides of the same textures, some at a time: a process draws the textures first."""
    by_texture: dict[int, list[PlannedSlide]] = defaultdict(list)
    for one in slides:
        by_texture[one.drawing.texture_seed].append(one)
    for own in by_texture.values():
        yield from (own[first : first + AT_ONCE] for first in range(0, len(own), AT_ONCE))


def _drawn(slides: Iterable[PlannedSlide], folder: Path) -> Iterator[str]:
    for one in slides:
        one.drawing.write(folder / one.name)
        yield one.name


def _draw_in_process(slides: list[PlannedSlide], folder: Path, tell: Tell) -> None:
    for number, _ in enumerate(_drawn(slides, folder), 1):
        tell(number / len(slides))


def described(cohort: MadeCohort | None, table: Path) -> str:
    """A sentence on the slides, for reports."""
    if cohort is None:
        return f"The slides of `{table.parent.name}`."
    return (
        f"{cohort.slides} synthetic slides of {cohort.size:,} px at 40x: {', '.join(LABELS)}; a tumour takes "
        f"{cohort.smallest:.1%} to {cohort.largest:.1%} of the tissue. Test slides have other textures."
    )
