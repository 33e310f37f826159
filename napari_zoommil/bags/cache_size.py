"""The size of a cache of features: what was least recently used is deleted."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def trim(folder: Path, most_bytes: int) -> None:
    """Delete the least recently used groups and grids of a cache until it is small enough."""
    found = []
    for path in _units(folder):
        with suppress(OSError):
            found.append((path.stat().st_mtime, _size(path), path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found, key=lambda each: each[0]):
        if left <= most_bytes:
            return
        _delete(folder, path)
        left -= size


def _units(folder: Path) -> Iterator[Path]:
    """Paths that are deleted as a whole: groups, grids, unfinished files, files of an older version."""
    for entry in entries_in(folder):
        if entry.name.startswith(".") or not entry.is_dir():
            yield entry
            continue
        for below in folders_in(entry):
            yield from folders_in(below)


def entries_in(folder: Path) -> list[Path]:
    """Paths in a folder; none if it cannot be listed."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def folders_in(folder: Path) -> list[Path]:
    return [path for path in entries_in(folder) if path.is_dir()]


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _delete(folder: Path, path: Path) -> None:
    """Rename, so that no process sees a half-deleted group, then delete; also delete empty parent folders."""
    gone = folder / f".gone-{uuid.uuid4().hex}"
    with suppress(OSError):
        os.replace(path, gone)
        if gone.is_dir():
            shutil.rmtree(gone, ignore_errors=True)
        else:
            gone.unlink()
    for above in path.parents:
        if above == folder or folders_in(above):
            return
        with suppress(OSError):
            for file in entries_in(above):
                file.unlink()
            above.rmdir()
