"""Files that are whole at every moment, whoever is killed while writing them; endings of their names."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, ENOSPC, EPERM, EROFS
from glob import escape
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from napari_zoommil.errors import FileError, first_line
from napari_zoommil.unfinished_files import sweep, unique_name

SLIDES = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".tif", ".tiff", ".dcm", ".zarr",
)  # fmt: skip
"""Endings of whole-slide images. The manifest, which cannot import, repeats them for napari's dialogs."""

SLIDES_ONLY = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
"""Endings among them of scanners' own formats, which nothing else in napari reads as slides."""

PICTURES = (".tif", ".tiff", ".jpg", ".jpeg", ".png")
"""Endings of slides and of ordinary pictures alike."""

GEOJSON = (".geojson", ".json")
"""Endings of annotations, regions and cells."""

ANNOTATIONS = (*GEOJSON, ".xml")
"""Endings of annotations that are read; GeoJSON alone is written."""

TABLES = (".csv", ".tsv")
"""Endings of tables of slides."""

FEATURES = (".h5", ".hdf5")
"""Endings of feature files of other tools."""

TORCHSCRIPT = (".pt", ".ts", ".pth", ".jit")
"""Endings of encoders that are code."""

SAFETENSORS = ".safetensors"
"""Ending of weights that are numbers alone."""

LOCK_SECONDS = 3.0


def has_ending(path: Path, endings: Sequence[str]) -> bool:
    """Whether a file's name ends so, in upper or lower case."""
    return path.suffix.lower() in endings


def with_ending(path: Path, endings: Sequence[str]) -> Path:
    """The path with the first of the endings after its name, unless it has one of them."""
    return path if has_ending(path, endings) else path.with_name(f"{path.name}{endings[0]}")


def dialog_filter(title: str, endings: Sequence[str]) -> str:
    """What a file dialog shows: ``GeoJSON (*.geojson *.json)``."""
    return f"{title} ({' '.join(f'*{ending}' for ending in endings)})"


def real(path: Path) -> Path:
    """Where a path leads through links; unlike for ``Path.resolve``, a circle of them is no error."""
    return Path(os.path.realpath(path))


class Stamp(NamedTuple):
    """Tells one state of a file from another without reading it."""

    inode: int
    modified_ns: int
    size: int


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_size)


MOST_BYTES = 2 << 30
"""Size of the largest file that is read whole."""

MOST_TABLE_BYTES = 256 << 20
"""Size of the largest table, or other text for people, that is read."""


def check_readable(path: Path) -> None:
    """Refuse what is no file or folder, and what may not be read, before it is opened.

    A pipe would be waited for without end, and a device has none.

    Raises
    ------
    FileError
    """
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise FileError(f"{path.name} is a pipe, a socket or a device; give a file")
        if stat.S_ISREG(kind):
            path.open("rb").close()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(
        f"{path.name} cannot be read ({error.strerror or error}); check that it is there and may be read"
    )


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """A file's content.

    Parameters
    ----------
    path : Path
    most : int
        Bytes of the largest file that is read.

    Raises
    ------
    FileError
        If it is no file, cannot be read, or is larger.
    """
    check_readable(path)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > most:
                raise _too_large(path, most)
            content = file.read(most + 1)  # it may grow meanwhile
    except OSError as error:
        raise _unreadable(path, error) from error
    except MemoryError as error:
        raise FileError(f"{path.name} is larger than the memory; give a smaller file") from error
    if len(content) > most:
        raise _too_large(path, most)
    return content


def _too_large(path: Path, most: int) -> FileError:
    return FileError(f"{path.name} is larger than {most >> 20:,} MB; give a smaller file")


def make_folder(path: Path, exist_ok: bool = True) -> Path:
    """Make a folder and those it lies in, where they are not there.

    Raises
    ------
    FileError
        If it cannot be made, or is there already and ``exist_ok`` is false.
    """
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        raise FileError(
            f"the folder {path} cannot be made ({error.strerror or error}); {way_out(error)}"
        ) from error
    return path


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in that of the system for temporary files, deleted at the end, or by the next if this process
    is killed.

    Raises
    ------
    FileError
        If it cannot be made.
    """
    folder = Path(tempfile.gettempdir())
    sweep(folder.glob("zoommil-*"))
    own = folder / f"zoommil-{unique_name()}"
    try:
        own.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(own, error) from error
    try:
        yield own
    finally:
        rmtree(own, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, before work whose results are to go there.

    Raises
    ------
    FileError
    """
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:  # a drive may be missing
        there = there.parent
    if not there.is_dir():
        raise FileError(f"{folder} cannot be a folder, because {there} is none; save to another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise FileError(f"{there} cannot be written to; {way_out(OSError(EACCES, ''))}")


_swept: set[Path] = set()
"""Files whose leftovers this process has looked for."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside a file, to write to; the file is replaced when the block ends without error.

    The file holds the old content or the new one, even after a power cut, whatever other threads and
    processes write to it at the same time. Nothing is left behind where the block fails; what killed
    processes left of this file is deleted the first time that this process writes it.

    Yields
    ------
    Path
        Name of a file that is not there yet.

    Raises
    ------
    FileError
        If it cannot be written; the old file is then untouched.
    """
    path = real(path)  # a link stays a link
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileError(f"{path.name} is a pipe, a socket or a device, and not replaced; give another name")
    if path not in _swept:  # each time would take long in a folder of many files
        sweep(path.parent.glob(f".{escape(path.name)}.*.part"))
        _swept.add(path)
    part = path.with_name(f".{path.name}.{unique_name()}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:  # what is written may fail in any way while it is made
        with suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> FileError:
    """The error for a file that cannot be written."""
    held = error.errno in (EACCES, EPERM) and path.is_file()
    first = "close it in other programs, or " if held else ""  # Windows replaces no file that is open
    return FileError(
        f"{path.name} cannot be written ({error.strerror or first_line(error)}); {first}{way_out(error)}"
    )


def require_replaceable(path: Path) -> None:
    """Refuse a file that another program keeps from being replaced, as on Windows one that is open.

    Raises
    ------
    FileError
    """
    try:
        if path.exists():
            os.replace(path, path)
    except OSError as error:
        raise unwritable(path, error) from error


def unfinished_in(folder: Path) -> list[Path]:
    """Files that processes are writing, see :func:`replacing`, or were when they were killed."""
    return [path for path in folder.glob(".*.part") if path.is_file()]


def is_full(error: OSError) -> bool:
    """Whether a disk, or what a user may have of it, is full."""
    return error.errno in (ENOSPC, EDQUOT)


def way_out(error: OSError) -> str:
    """What to do where a file cannot be written."""
    if is_full(error):
        return "free some space on the disk, or save to another folder"
    if error.errno in (EACCES, EPERM, EROFS):
        return "save to another folder, one that may be written to"
    return "save to another folder"


def write_file(path: Path, content: bytes | Iterable[bytes]) -> Stamp | None:
    """Replace a file as a whole, see :func:`replacing`.

    Parameters
    ----------
    path : Path
    content : bytes or iterable of bytes
        In pieces it may be made while it is written.

    Returns
    -------
    Stamp
        Of the file as it was written.

    Raises
    ------
    FileError
        If it cannot be written; the old file is then untouched.
    """
    with replacing(path) as part:
        with part.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
        stamp = stamp_of(part)
    return stamp


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Replace a file by JSON.

    Raises
    ------
    FileError
    """
    write_file(path, (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Replace a file by a CSV table; values that a row lacks stay empty.

    Raises
    ------
    FileError
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes of ours from writing a file; the lock ends with the process.

    Raises
    ------
    FileError
        If another process keeps it for too long.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(LOCK_SECONDS)
    except Timeout as error:
        raise FileError(
            f"{path.name} is being written by another program; try again when it is done"
        ) from error
    except (OSError, NotImplementedError):
        pass  # some network shares cannot lock; writes are atomic all the same
    try:
        yield
    finally:
        lock.release()
