"""Files that belong together, such as the maps and tables of one prediction, replaced as one.

They are written into a hidden folder beside the old ones. One rename declares them complete; then they are
moved to their places. Who is killed before the rename has changed nothing; what is left to move after it is
moved by the next reader or writer of the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from shutil import rmtree

from napari_zoommil.errors import FileError
from napari_zoommil.files import locked, make_folder, way_out, write_json
from napari_zoommil.unfinished_files import sweep, unique_name

LIST = ".files.json"
"""In a folder of complete files: their names."""


@contextmanager
def replaced_together(folder: Path, name: str) -> Iterator[Path]:
    """A folder to write files into, which replace those of the same set when the block ends without error.

    Files of the set that were there before and are not written anew are deleted; other files stay.

    Parameters
    ----------
    folder : Path
        Where the files belong; it is made.
    name : str
        Of the set, such as ``"prediction"``.

    Yields
    ------
    Path
        An empty folder beside the files; it must not get folders inside.

    Raises
    ------
    FileError
        If the files cannot be written, or another process writes the same set; the old ones are then
        untouched.
    """
    make_folder(folder)
    with locked(folder / name):
        sweep(folder.glob(f".{escape(name)}.*.part"))
        _finish(folder, name)
        part = make_folder(folder / f".{name}.{unique_name()}.part", exist_ok=False)
        try:
            yield part
            write_json(part / LIST, sorted(path.name for path in part.iterdir()))
            try:
                os.replace(part, _complete(folder, name))
            except OSError as error:
                raise _unwritable(folder, error) from error
        except BaseException:
            rmtree(part, ignore_errors=True)
            raise
        _finish(folder, name)


def finish_replacing(folder: Path, name: str) -> None:
    """Move the files of a set that a killed process declared complete; to be called before they are read.

    Raises
    ------
    FileError
        If they cannot be moved.
    """
    if _complete(folder, name).is_dir():
        with locked(folder / name):
            _finish(folder, name)


def _finish(folder: Path, name: str) -> None:
    complete, known = _complete(folder, name), folder / f".{name}.files.json"
    try:
        if (complete / LIST).exists():  # moved last: without it all files are in their places
            new = _names(complete / LIST)
            for gone in set(_names(known)) - set(new):
                (folder / gone).unlink(missing_ok=True)
            for one in new:
                if (complete / one).exists():  # else it was moved before the process was killed
                    os.replace(complete / one, folder / one)
            os.replace(complete / LIST, known)
    except OSError as error:
        raise _unwritable(folder, error) from error
    rmtree(complete, ignore_errors=True)


def _complete(folder: Path, name: str) -> Path:
    return folder / f".{name}.complete"


def _names(path: Path) -> list[str]:
    """Names in a list of files, without those that would lead out of its folder."""
    with suppress(OSError, ValueError):
        stated = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(stated, list):
            return [one for one in stated if isinstance(one, str) and Path(one).name == one]
    return []


def _unwritable(folder: Path, error: OSError) -> FileError:
    return FileError(
        f"the files in {folder} cannot be replaced ({error.strerror or error}); {way_out(error)}"
    )
