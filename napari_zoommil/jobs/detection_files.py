"""A detection as files: cells as GeoJSON and as a table, and a table of counts and densities."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_zoommil.errors import FileError
from napari_zoommil.files import (
    GEOJSON,
    make_folder,
    replacing,
    require_replaceable,
    require_writable,
    unwritable,
    with_ending,
)
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.progress import Job, Progress, run

if TYPE_CHECKING:
    from napari_zoommil.cells.export import Steps

COUNTS = (
    "slide",
    "model",
    "score_at_least",
    "class",
    "cells",
    "cells_per_mm2",
    "mm2_that_density_refers_to",
    "kind_of_that_area",
    "searched_mm2",
    "tissue_mm2",
)
"""Columns of the table of counts."""


class CellFiles(NamedTuple):
    """The files of a detection: the cells twice, and the counts."""

    geojson: Path
    cells: Path
    counts: Path


def cell_files(path: Path) -> CellFiles:
    """Names of the files that go with a GeoJSON file: ``a.geojson``, ``a.csv`` and ``a.counts.csv``."""
    path = with_ending(Path(path), GEOJSON)
    return CellFiles(path, path.with_suffix(".csv"), path.with_suffix(".counts.csv"))


def in_the_way(path: Path) -> tuple[Path, ...]:
    """Tables with the names of those beside a GeoJSON file that no earlier export to this file wrote."""
    from napari_zoommil.cells.export import COLUMNS

    files = cell_files(path)
    again = files.geojson.exists()
    ours = ((files.cells, COLUMNS), (files.counts, COUNTS))
    return tuple(one for one, columns in ours if one.exists() and not (again and _begins(one, columns)))


def _begins(table: Path, columns: Sequence[str]) -> bool:
    with table.open("rb") as file:
        return file.readline().rstrip() == ",".join(columns).encode()


def require_free(path: Path) -> None:
    """Refuse a GeoJSON file beside which there are tables that nobody has asked to replace.

    Raises
    ------
    FileError
    """
    if found := in_the_way(path):
        raise FileError(
            f"{' and '.join(str(one) for one in found)} would be replaced; choose another name, or give "
            "--overwrite (overwrite=True)"
        )


def require_possible(path: Path, overwrite: bool = False) -> None:
    """Refuse, before any work, a GeoJSON file that :func:`write_detection` would refuse.

    Raises
    ------
    FileError
        If its folder cannot be written to, something that is no file has one of the names, or another
        program keeps one of the files.
    """
    files = cell_files(path)
    require_writable(files.geojson.absolute().parent)
    for one in files:
        if one.exists() and not one.is_file():
            raise FileError(f"{one} is there and is no file; choose another name")
        require_replaceable(one)
    if not overwrite:
        require_free(path)


def write_detection(
    path: Path, found: Detection, threshold: float | None = None, overwrite: bool = False
) -> CellFiles:
    """:func:`export_cells`, without its progress."""
    return run(export_cells(path, found, threshold, overwrite))


def export_cells(
    path: Path, found: Detection, threshold: float | None = None, overwrite: bool = False
) -> Job[CellFiles]:
    """Write the cells from a score on, and how many there are.

    No file is replaced before all are written and none is kept by another program. They are then replaced
    one after another: who is killed between leaves new ones beside old ones.

    Parameters
    ----------
    path : Path
        Of the GeoJSON file; see :func:`cell_files`.
    found : Detection
    threshold : float, optional
        The model's by default.
    overwrite : bool
        Whether tables beside it that an earlier export did not write may be replaced.

    Raises
    ------
    FileError
        If they cannot be written, or there are such tables.
    """
    from napari_zoommil.cells.export import detection_steps, table_steps

    if not overwrite:
        require_free(path)
    files, counting = cell_files(path), found.counting(threshold)
    make_folder(files.geojson.absolute().parent)
    with ExitStack() as together:  # none is replaced before all are written
        new = CellFiles(*(together.enter_context(replacing(one)) for one in files))
        for file, steps in (
            (files.geojson, detection_steps(new.geojson, counting, found.classes, found.origin)),
            (files.cells, table_steps(new.cells, counting, found.classes, found.mpp)),
            (files.counts, _counts_steps(new.counts, found, threshold)),
        ):
            try:
                with closing(steps):
                    for done in steps:
                        note = f"writing {file.name}: {done:,} of {len(counting):,} cells"
                        yield Progress(done, len(counting), note)
            except OSError as error:
                raise unwritable(file, error) from error
        for file in files:
            require_replaceable(file)
    return files


def _counts_steps(path: Path, found: Detection, threshold: float | None) -> Steps:
    path.write_bytes(counts_table(found, threshold).encode())
    yield len(found.counting(threshold))


def counts_table(found: Detection, threshold: float | None = None) -> str:
    """CSV with a line per class, see :data:`COUNTS`."""
    text, densities = io.StringIO(), found.per_mm2(threshold)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COUNTS)
    least = found.threshold if threshold is None else threshold
    area = (
        round(found.counted_mm2, 6),
        found.area_kind,
        round(found.area_mm2, 6),
        round(found.tissue_mm2, 6),
    )
    for name, count in found.counts(threshold).items():
        density = densities[name]
        told = "" if density is None else round(density, 3)
        writer.writerow((found.slide, found.model, round(least, 4), name, count, told, *area))
    return text.getvalue()
