"""Cohorts: tables of labelled slides, ``slide,label[,split][,group]``, with commas, semicolons or tabs.

Labels may stand in a table of their own, a line for each patient, see :class:`Columns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from os.path import normpath
from pathlib import Path
from typing import Any

from napari_zoommil.errors import CohortError, short
from napari_zoommil.training.mil import cohort_faults as faults_of
from napari_zoommil.training.mil.cohort_faults import Lack, is_missing, no_slide
from napari_zoommil.training.mil.folders import labelled_pictures
from napari_zoommil.training.mil.labelled_slide import LabelledSlide
from napari_zoommil.training.mil.table import Row, read_table

TOLD = 20
"""Most faults in an error message; all of them are in its ``faults``."""


LONGEST = 300
"""Most characters of a fault that are told."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a cohort, which are not case sensitive, and the table of its slides.

    Attributes
    ----------
    slide_table : Path, optional
        Table with the columns slide and group, a line for each slide. The cohort then is a table of patients
        with a line for each, such as clinical data, and is joined to the slides by the group.
    slide_column : str
        Path of the slide, relative to its table.
    label_column : str
        Class, or measurement.
    split_column : str
        train, val or test.
    group_column : str
        Such as the patient. Slides of a group stay together in all divisions.
    fold_column : str
        Fold of a cross-validation that the slide is held out in.
    by : str, optional
        Column by whose values results are also reported: numbers, such as a size, by thirds; else each value.
    subset_column : str
        Names of subsets that a slide belongs to, with spaces between: results are also reported of each.
    """

    slide_table: Path | None = None
    slide_column: str = "slide"
    label_column: str = "label"
    split_column: str = "split"
    group_column: str = "group"
    fold_column: str = "fold"
    by: str | None = None
    subset_column: str = "subset"

    @property
    def named(self) -> tuple[str, ...]:
        """Columns that have to be there, because somebody named them."""
        usual = {one.name: one.default for one in fields(self)}
        own = ("split_column", "group_column", "fold_column", "by", "subset_column")
        return tuple(getattr(self, name) for name in own if getattr(self, name) != usual[name])


OWN_COLUMNS = Columns()
"""The usual names, and no second table."""


@dataclass(frozen=True)
class Cohort(Sequence[LabelledSlide]):
    """Labelled slides.

    Attributes
    ----------
    entries : tuple of LabelledSlide
    malformed : tuple of str
        Faults in lines of the table.
    notes : tuple of str
        What a user should know of it that prevents nothing.
    """

    entries: tuple[LabelledSlide, ...]
    malformed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Any) -> Any:
        return self.entries[index]

    def faults(self, in_folds: bool = False, lack: Lack = no_slide) -> tuple[str, ...]:
        """All faults that prevent training, each as a message.

        Parameters
        ----------
        in_folds : bool
            Whether it is to be divided into folds, which of its splits regard only test.
        lack : callable
            Why a slide cannot be used; by default, that it does not exist.
        """
        return (*self.content_faults(lack), *faults_of.of_splits(self.entries, in_folds))

    def content_faults(self, lack: Lack = no_slide) -> tuple[str, ...]:
        """Those of its lines, and contradictions between them."""
        return (
            *self.malformed,
            *(fault for entry in self.entries for fault in faults_of.of_entry(entry, lack)),
            *faults_of.contradictions(self.entries),
            *faults_of.of_labels(self.entries),
        )


def read_cohort(path: Path, columns: Columns | None = None) -> Cohort:
    """Read a cohort; slides are looked up relative to their table.

    Raises
    ------
    FileError
        If a table cannot be read.
    CohortError
        If one is not a table, or the cohort has faults (see :meth:`Cohort.faults`); the error lists them all.
    """
    cohort = parse_cohort(path, columns)
    refuse(path, cohort.faults())
    return cohort


def parse_cohort(path: Path, columns: Columns | None = None) -> Cohort:
    """The cohort of a table, with its faults; or of a folder with a folder of images for each class.

    Raises
    ------
    FileError
        If a table cannot be read.
    CohortError
        If one is not a table with these columns, or a folder holds no such images.
    """
    columns = columns or Columns()
    if path.is_dir():
        if columns != Columns():
            raise CohortError(f"{path.name} is a folder, which has no columns; leave their names out")
        return Cohort(labelled_pictures(path))
    if columns.slide_table is not None:
        return _joined(path, columns.slide_table, columns)
    rows = read_table(path, (columns.slide_column, columns.label_column, *columns.named))
    return Cohort(tuple(_entry(path.parent, row, Row(0, {}), columns) for row in rows), _malformed(rows))


def _joined(patients: Path, slides: Path, columns: Columns) -> Cohort:
    """The cohort of a table of patients and a table of their slides."""
    labelled = read_table(patients, (columns.group_column, columns.label_column))
    rows = read_table(slides, (columns.slide_column, columns.group_column))
    names = [row[columns.group_column] for row in labelled]
    of_patient = {name: row for name, row in zip(names, labelled, strict=True) if name}
    for name in columns.named:
        if not any(name.lower() in row.cells for row in (*labelled, *rows)):
            raise CohortError(f"neither {patients.name} nor {slides.name} has the column {name}")
    wanted = {row[columns.group_column] for row in rows}
    known = [row for row in rows if row[columns.group_column] in of_patient]
    told = (
        *(f"{patients.name}, {fault}" for fault in _malformed(labelled)),
        *faults_of.of_patients(patients.name, columns.group_column, labelled),
        *_malformed(rows),
        *(
            f"line {row.line}: {columns.group_column} {row[columns.group_column] or 'is empty'}"
            f"{f' is not in {patients.name}' if row[columns.group_column] else ''}"
            for row in rows
            if row[columns.group_column] not in of_patient
        ),
    )
    without = len({name for name in names if name} - wanted)
    notes = (f"{without:,} of {len(names):,} patients of {patients.name} have no slide",) if without else ()
    entries = (_entry(slides.parent, row, of_patient[row[columns.group_column]], columns) for row in known)
    return Cohort(tuple(entries), told, notes)


def _malformed(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(f"line {row.line}: {row.fault}" for row in rows if row.fault)


def _entry(folder: Path, row: Row, patient: Row, columns: Columns) -> LabelledSlide:
    """A slide by its line, with what only the line of its patient states."""

    def of(column: str | None) -> str:
        found = "" if column is None else row[column] or patient[column]
        return "" if is_missing(found) else found

    name = row[columns.slide_column]
    return LabelledSlide(
        folder / name if name else Path(),
        (patient if patient.cells else row)[columns.label_column],
        of(columns.split_column),
        of(columns.group_column) or normpath(name),
        row.line,
        of(columns.fold_column),
        of(columns.by),
        tuple(dict.fromkeys(of(columns.subset_column).split())),
    )


def read_to_predict(path: Path, columns: Columns | None = None, lack: Lack = no_slide) -> Cohort:
    """The slides of a table to predict over and to compare with labels, where it has these.

    Labels and splits stay as they are in the table; splits without which one cannot train may be missing.

    Parameters
    ----------
    path : Path
    columns : Columns, optional
        Those that are named have to be there.
    lack : callable
        Why a slide cannot be used; by default, that it does not exist.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is not a table with a column of slides, or has faults; the error lists all of them.
    """
    columns = columns or Columns()
    slides, label = columns.slide_column, columns.label_column
    may_lack_labels = columns.slide_table is None and label == Columns.label_column
    if may_lack_labels and not any(label in row.cells for row in read_table(path, (slides,))):
        return Cohort(tuple(LabelledSlide(one, "") for one in slides_of_table(path, slides)))
    cohort = parse_cohort(path, columns)
    refuse(path, cohort.content_faults(lack))
    return cohort


def slides_of_table(path: Path, column: str = "slide") -> list[Path]:
    """The column of slides of a table, relative to it, without duplicates.

    Raises
    ------
    FileError
        If the table cannot be read.
    CohortError
        If it is not a table with such a column, or a line has no slide.
    """
    rows = read_table(path, (column,))
    wrong = ((row.line, row.fault or faults_of.of_name(column, row[column])) for row in rows)
    refuse(path, tuple(f"line {line}: {fault}" for line, fault in wrong if fault))
    return list(dict.fromkeys(path.parent / row[column] for row in rows))


def refuse(what: Path | str, faults: Sequence[str]) -> None:
    """Refuse a table, or what else a cohort is read from, for its faults, if it has any.

    Raises
    ------
    CohortError
    """
    if faults:
        name = what.name if isinstance(what, Path) else what
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        told = [short(fault, LONGEST) for fault in faults]
        raise CohortError(f"{name} cannot be used: {'; '.join(told[:TOLD])}{more}", tuple(told))


def class_names(entries: Iterable[LabelledSlide]) -> tuple[str, ...]:
    """Labels, sorted."""
    return tuple(sorted({entry.label for entry in entries}))


def counts(entries: Iterable[LabelledSlide], of: str = "split") -> Mapping[str, int]:
    """Number of slides by split, label or fold."""
    found: dict[str, int] = {}
    for entry in entries:
        found[getattr(entry, of)] = found.get(getattr(entry, of), 0) + 1
    return found
