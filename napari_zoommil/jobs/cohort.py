"""Cohorts to look through: slides of a table, slides or images of a folder, and what a model says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.errors import CohortError, FeatureFileError
from napari_zoommil.familiarity import UNKNOWN, Verdict
from napari_zoommil.files import PICTURES, SLIDES, SLIDES_ONLY, TABLES, has_ending, real
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.models.task import Classification, Task, measurements
from napari_zoommil.slides.readers.base import slide_format
from napari_zoommil.training.mil.cohort import OWN_COLUMNS, Columns, read_to_predict
from napari_zoommil.training.mil.cohort_faults import no_slide
from napari_zoommil.training.mil.folders import labelled_pictures, pictures_in
from napari_zoommil.training.mil.labelled_slide import LabelledSlide


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of a slide, without its maps.

    Attributes
    ----------
    task : Task
        What the values mean.
    values : (C,) float32
        Probabilities of the classes, or the number that was asked for.
    familiarity : Verdict
    """

    task: Task
    values: NDArray[np.float32]
    familiarity: Verdict = UNKNOWN


@dataclass(frozen=True, eq=False)
class CohortRow:
    """A slide of a cohort, what a model says of it, or why it could not.

    Attributes
    ----------
    entry : LabelledSlide
        Its label, split and group are empty where the cohort has none.
    answer : Answer or None
    error : str
    """

    entry: LabelledSlide
    answer: Answer | None = None
    error: str = ""

    @cached_property
    def predicted(self) -> str:
        """The most probable class, or the value with its unit; empty without an answer."""
        return "" if self.answer is None else self.answer.task.predicted(self.answer.values)

    @property
    def probability(self) -> float | None:
        """Of the predicted class; None of a value."""
        is_class = self.answer is not None and isinstance(self.answer.task, Classification)
        return float(self.answer.values.max()) if self.answer is not None and is_class else None

    @property
    def value(self) -> float | None:
        """The predicted number; None of a class."""
        if self.answer is None or isinstance(self.answer.task, Classification):
            return None
        return float(self.answer.values[0])

    @property
    def residual(self) -> float | None:
        """The predicted number less the label; None where one of them is missing."""
        try:
            (label,) = measurements([self.entry.label])
        except CohortError:
            return None
        return None if self.value is None else self.value - label

    @property
    def can_be_judged(self) -> bool:
        """Whether there is a label that the model could have given, or a number to compare."""
        if self.answer is None:
            return False
        if isinstance(self.answer.task, Classification):
            return self.entry.label in self.answer.task.names
        return self.residual is not None

    @property
    def is_wrong(self) -> bool:
        """Whether another class than the label is predicted; never of a value."""
        return self.can_be_judged and self.value is None and self.predicted != self.entry.label


@dataclass(frozen=True)
class TableSource:
    """What has to be known beside a table to read it.

    Attributes
    ----------
    columns : Columns
    features : sequence of Path
        Feature files, with which slides need not be there.
    """

    columns: Columns = OWN_COLUMNS
    features: Sequence[Path] = ()

    def lack(self, slide: Path) -> str:
        """Why a slide cannot be used: it is not there, and has no features; empty if it can."""
        if not self.features or slide.exists():
            return no_slide(slide)
        try:
            FeatureFolders(tuple(self.features)).of(slide)
        except FeatureFileError as error:
            return str(error)
        return ""


OWN_SOURCE = TableSource()
"""A table that has all in its own columns."""


@dataclass(frozen=True, eq=False)
class OpenCohort:
    """The slides of a table, the slides or images of a folder, or a single one.

    Attributes
    ----------
    path : Path
    entries : tuple of LabelledSlide
    resolved : tuple of Path
        Their paths with links followed, which takes a while for thousands on a network.
    source : TableSource
        How the table was read.
    is_of_images : bool
        Whether it is a folder of ordinary pictures.
    """

    path: Path
    entries: tuple[LabelledSlide, ...]
    resolved: tuple[Path, ...]
    source: TableSource = OWN_SOURCE
    is_of_images: bool = False

    @property
    def is_table(self) -> bool:
        return _is_table(self.path)

    @property
    def unit(self) -> str:
        """What it is counted in: slide or image."""
        return "image" if self.is_of_images else "slide"

    @property
    def can_be_trained_on(self) -> bool:
        """Whether ``train`` reads its labels as they are here."""
        return self.has_labels and (self.is_table or self.path.is_dir())

    @cached_property
    def has_labels(self) -> bool:
        return any(one.label for one in self.entries)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Those that are in the table, in its order."""
        return tuple(dict.fromkeys(one.split for one in self.entries if one.split))

    @cached_property
    def has_groups(self) -> bool:
        """Whether the table names groups: without them each slide is its own."""
        return any(not _is_name_of(one.group, one.slide) for one in self.entries if one.group)

    @property
    def summary(self) -> str:
        """``15 slides, 3 labels, 15 groups``."""
        told = [counted(len(self.entries), self.unit)]
        if self.has_labels:
            told.append(counted(len({one.label for one in self.entries}), "label"))
        if self.has_groups:
            told.append(counted(len({one.group for one in self.entries}), "group"))
        return ", ".join(told if self.has_labels else [*told, "no labels"])


def _is_name_of(group: str, slide: Path) -> bool:
    """Whether a group is only the slide as the table names it."""
    return slide.as_posix().endswith(Path(group).as_posix())


def counted(count: int, noun: str) -> str:
    """``1 slide``, ``1,200 slides``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _is_table(path: Path) -> bool:
    return has_ending(path, TABLES) and not path.is_dir()


def opening(path: Path, source: TableSource = OWN_SOURCE) -> Job[OpenCohort]:
    """:func:`open_cohort` as a job: a folder on a network may hold many files."""
    yield Progress(0, 1, f"reading {path.name}")
    return open_cohort(path, source)


def is_cohort(path: Path) -> bool:
    """Whether a path is there and is, by its name, one that :func:`open_cohort` opens."""
    return path.is_dir() or (path.is_file() and has_ending(path, (*TABLES, *SLIDES, *PICTURES)))


def open_cohort(path: Path, source: TableSource = OWN_SOURCE) -> OpenCohort:
    """The slides of a table, or those in a folder and its subfolders, or a single one, without labels.

    A slide that a table names several times with one label is taken once. A folder without slides is one of
    images: with a folder for each class, they have labels as in ``train``, else those in the folder itself
    are taken.

    Parameters
    ----------
    path : Path
    source : TableSource
        How a table is to be read.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is no table of slides, or has faults, all of which the error lists; or if there is no slide and
        no image.
    """
    if _may_be_slide(path) or (has_ending(path, PICTURES) and path.is_file()):
        return _of_slides(path, (path,))
    if path.is_dir():
        return _of_folder(path)
    if not _is_table(path):
        raise CohortError(
            f"{path.name} is neither a table ({', '.join(TABLES)}) nor a slide, or folder of slides, that is "
            "there"
        )
    distinct: dict[Path, LabelledSlide] = {}
    for one in read_to_predict(path, source.columns, source.lack):
        distinct.setdefault(real(one.slide), one)
    return OpenCohort(path, tuple(distinct.values()), tuple(distinct), source)


def _of_folder(folder: Path) -> OpenCohort:
    """Its slides, or else its images."""
    try:
        return _of_slides(folder, slides_in(folder))
    except CohortError as error:
        try:
            found = labelled_pictures(folder)
        except CohortError as other:
            found = tuple(LabelledSlide(one, "") for one in pictures_in(folder))
            if not found:
                raise CohortError(f"{error}; {other}") from other
    return OpenCohort(folder, found, tuple(real(one.slide) for one in found), is_of_images=True)


def _of_slides(path: Path, slides: Sequence[Path]) -> OpenCohort:
    """Slides without labels."""
    unlabelled = tuple(LabelledSlide(slide, "") for slide in slides)
    return OpenCohort(path, unlabelled, tuple(real(slide) for slide in slides))


def slides_in(folder: Path) -> tuple[Path, ...]:
    """The slides in a folder and its subfolders, by name; hidden files and ordinary pictures are left out.

    Of a folder with DICOM files the first is taken: each of them opens the whole slide. Damaged slides of
    scanners' own formats are among them: what is wrong is told when they are read.

    Raises
    ------
    CohortError
        If there is none.
    """
    found: list[Path] = []
    with_dicom: set[Path] = set()
    for path in sorted(folder.rglob("*")):
        own = path.relative_to(folder)
        if any(part.startswith(".") for part in own.parts) or _is_inside_slide(own):
            continue
        is_dicom = has_ending(path, (".dcm",))
        if not _may_be_slide(path) or (is_dicom and path.parent in with_dicom):
            continue
        if has_ending(path, SLIDES_ONLY) or slide_format(path):
            found.append(path)
            with_dicom |= {path.parent} if is_dicom else set()
    if not found:
        raise CohortError(f"{folder.name} holds no slides ({', '.join(SLIDES)})")
    return tuple(found)


def _is_inside_slide(own: Path) -> bool:
    """Whether a path lies in a folder that is a slide itself."""
    return any(has_ending(parent, (".zarr",)) for parent in own.parents)


def _may_be_slide(path: Path) -> bool:
    """By its name, and by being a file; an OME-Zarr may be a folder."""
    return has_ending(path, SLIDES) and (path.is_file() or (has_ending(path, (".zarr",)) and path.is_dir()))


def rows_of(cohort: OpenCohort) -> list[CohortRow]:
    """The slides, before a model was asked."""
    return [CohortRow(entry) for entry in cohort.entries]


COLUMNS = ("slide", "label", "split", "group", "predicted", "probability", "value", "residual",
           "share_unlike", "do_not_rely_on_this", "error")  # fmt: skip
"""Of the exported table, before a column for each class."""


def table_of(rows: Sequence[CohortRow]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and lines of the exported table; slides are named as in the file system."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        entry, answer = row.entry, row.answer
        line: dict[str, Any] = {
            "slide": str(entry.slide), "label": entry.label, "split": entry.split, "group": entry.group,
            "error": row.error,
        }  # fmt: skip
        if answer is not None:
            known = answer.familiarity.facts
            line |= {name: known[name] for name in ("share_unlike", "do_not_rely_on_this")}
            line |= {"residual": row.residual, "probability": row.probability, "value": row.value}
            if isinstance(answer.task, Classification):
                line |= {"predicted": row.predicted} | answer.task.figures(answer.values)
        lines.append({name: "" if value is None else value for name, value in line.items()})
    of_classes = dict.fromkeys(name for line in lines for name in line if name not in COLUMNS)
    return [*COLUMNS, *of_classes], lines
