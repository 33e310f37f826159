"""The files of an experiment: results as JSON, tables, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.files import make_folder, write_file, write_json

RESULTS, TABLE = "results.json", "table.md"


def write_results(
    folder: Path, results: dict[str, Any], table: str, figures: Mapping[str, Callable[[Path], None]]
) -> Reproduction:
    """Write all files of an experiment.

    Parameters
    ----------
    folder : Path
    results : dict
        As JSON.
    table : str
        Markdown.
    figures : mapping of str to callable
        Name of a file → a function that draws it there.
    """
    make_folder(folder)
    write_json(folder / RESULTS, results, indent=1)
    write_file(folder / TABLE, table.encode())
    for name, draw in figures.items():
        draw(folder / name)
    return Reproduction(folder, tuple(folder / name for name in (RESULTS, TABLE, *figures)), results)
