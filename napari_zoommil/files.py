"""Files that are whole at every moment, whoever is killed while writing them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from napari_zoommil.errors import AnnotationError

LOCK_SECONDS = 3.0


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


def read_file(path: Path) -> bytes:
    """A file's content.

    Raises
    ------
    AnnotationError
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"{path.name} cannot be read ({error.strerror or error}); check that it is there and may be read"
        ) from error


def write_file(path: Path, content: bytes | Iterable[bytes]) -> Stamp | None:
    """Replace a file as a whole: it holds the old content or the new one, even after a power cut.

    ``content`` may come in pieces, made while they are written.

    Raises
    ------
    AnnotationError
        If it cannot be written; the old file is then untouched.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        stamp = stamp_of(part)
        os.replace(part, path)
    except BaseException as error:  # pieces may fail in any way, and leave nothing behind either
        with suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        raise AnnotationError(
            f"{path.name} cannot be written ({error.strerror or error}); free some space on the disk, "
            "or save to another folder"
        ) from error
    return stamp


def sweep(path: Path) -> None:
    """Delete what writers that were killed left beside a file; to be called by who holds its lock."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        with suppress(OSError):
            part.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes of ours from writing a file; the lock ends with the process.

    Raises
    ------
    AnnotationError
        If another process keeps it for too long.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(LOCK_SECONDS)
    except Timeout as error:
        raise AnnotationError(
            f"{path.name} is being written by another program; the next edit tries again"
        ) from error
    except (OSError, NotImplementedError):
        pass  # some network shares cannot lock; writes are atomic all the same
    try:
        yield
    finally:
        lock.release()
