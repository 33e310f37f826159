"""Reading of CSV tables as written by spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_zoommil.errors import CohortError
from napari_zoommil.files import MOST_TABLE_BYTES, read_file

SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One row of a table; a column that the table lacks is empty.

    Attributes
    ----------
    line : int
        Its last line in the file, from 1.
    cells : mapping of str to str
        Values by column, without surrounding blanks.
    fault : str
        What is wrong with the row; empty if nothing is.
    """

    line: int
    cells: Mapping[str, str]
    fault: str = ""

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column.lower(), "")


def read_table(path: Path, columns: Sequence[str]) -> tuple[Row, ...]:
    """The rows of a table with a header.

    The separator is that of the header: a comma, a semicolon or a tab. Names of columns are not case
    sensitive. Rows without any value are left out.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Columns that the table must have, in any case.

    Raises
    ------
    FileError
        If it cannot be read.
    CohortError
        If it is not text in UTF-8, lacks a column or has one twice, or has no row.
    """
    try:
        text = read_file(path, MOST_TABLE_BYTES).decode("utf-8-sig")
        if "\0" in text:  # which no name of a file may hold
            raise csv.Error("it holds a null character")
        separator = max(SEPARATORS, key=lambda one: len(next(_lines(text, one), (0, []))[1]))
        lines = _lines(text, separator)
        header = [name.lower() for name in next(lines, (0, []))[1]]
        rows = [_row(header, values, line) for line, values in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(
            f"{path.name} cannot be read as a CSV table: {error}; save it as CSV in UTF-8"
        ) from error
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise CohortError(f"{path.name} has the column {twice} twice; rename one")
    columns = tuple(dict.fromkeys(columns))
    if not rows or not {name.lower() for name in columns} <= set(header):
        *first, last = columns
        what = f"columns {', '.join(first)} and {last}" if first else f"column {last}"
        raise CohortError(f"{path.name} needs a header with the {what}, and at least one row")
    return tuple(rows)


def _lines(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Lines with any value: their numbers, and their values without surrounding blanks."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    for cells in reader:
        values = [cell.strip() for cell in cells]
        if any(values):
            yield reader.line_num, values


def _row(header: Sequence[str], values: Sequence[str], line: int) -> Row:
    surplus = [value for value in values[len(header) :] if value]
    fault = (
        f"{surplus[0]!r} is in no column; put a value that holds the separator in quotes" if surplus else ""
    )
    return Row(line, dict(zip(header, values, strict=False)), fault)
