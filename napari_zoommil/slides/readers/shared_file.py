"""Opening of files: positioned reads that threads can share, and the index of a TIFF."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from threading import Lock
from xml.etree import ElementTree

import numpy as np
from tifffile import TiffFile

from napari_zoommil.errors import SlideError

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # users need no warnings about odd tags


class _Handle(FileIO):
    """A file that is closed with its last reference, without a ResourceWarning."""

    def __del__(self) -> None:
        self.close()


class SharedFile:
    """A file that several threads can read at once.

    Raises
    ------
    SlideError
        If it cannot be opened or read, or was closed.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            file = _Handle(path)
        except OSError as error:
            raise SlideError(f"{path.name} cannot be opened: {error.strerror or error}") from error
        self._file: FileIO | None = file
        self.size = os.fstat(file.fileno()).st_size
        self._lock = Lock()

    def fetch(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; EOFError if the file has fewer."""
        file = self._file
        if file is None:
            raise SlideError(f"{self._name} was closed")
        if not 0 <= offset <= offset + size <= self.size:  # a damaged index must not request gigabytes
            raise EOFError("the file ends too early")
        try:
            data = self._read(file, offset, size)
        except OSError as error:
            raise SlideError(f"{self._name} cannot be read any more: {error.strerror or error}") from error
        if len(data) != size:
            raise EOFError("the file became shorter")
        return data

    def _read(self, file: FileIO, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(file.fileno(), size, offset)
        with self._lock:  # Windows has no positioned read
            file.seek(offset)
            return file.read(size) or b""

    def close(self) -> None:
        self._file = None  # closed with the last reference, of a thread that still reads


MOST_PAGES = 10_000
"""Most pages of a TIFF: each is looked at, which takes half a millisecond, and a slide has some dozens."""

FORMS = {42: ("H", 12, "I", 4), 43: ("Q", 20, "Q", 8)}
"""Of TIFF and BigTIFF: types of a count and of an offset, bytes of an entry, place of the first offset."""

MOST_ENTRIES = 4096
"""Most entries of a page that make sense, as tifffile has it."""

TYPES = range(1, 19)
"""Types of the value of an entry."""

LONGEST = 1 << 32
"""Bytes that the offsets of a TIFF reach; what is longer has others, such as those of NDPI, of 64 bits."""


def check_pages(path: Path) -> None:
    """Refuse a TIFF of very many pages before anything is made of them.

    Nothing is said of a file whose pages cannot be counted in this way: NDPI, and what makes no sense.

    Raises
    ------
    SlideError
    """
    if path.suffix.lower() == ".ndpi":
        return
    with suppress(OSError, struct.error), path.open("rb") as file:  # what is damaged is told by who reads it
        size = os.fstat(file.fileno()).st_size
        start = file.read(4)
        order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
        form = FORMS.get(struct.unpack(f"{order}H", start[2:])[0]) if order else None
        if form is None or (form is FORMS[42] and size > LONGEST):
            return
        count, entry, offset, at = form
        for _ in range(MOST_PAGES + 1):
            file.seek(at)
            (at,) = struct.unpack(f"{order}{offset}", file.read(struct.calcsize(offset)))
            if not 0 < at < size:
                return
            file.seek(at)
            (entries,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))
            _tag, kind = struct.unpack(f"{order}HH", file.read(4))
            if not 0 < entries <= MOST_ENTRIES or kind not in TYPES:
                return
            at += struct.calcsize(count) + entries * entry
        raise SlideError(f"{path.name} has more than {MOST_PAGES:,} pages; no slide has that many")


@contextmanager
def open_tiff(path: Path) -> Iterator[TiffFile]:
    """The index of a TIFF, without numpy's warnings about odd numbers in it.

    Other files that an OME-TIFF names are never opened: a path from an untrusted file may be a pipe that
    blocks for ever, or a network share that asks for a login.
    """
    check_pages(path)
    with np.errstate(all="ignore"), ExitStack() as stack:
        tiff = stack.enter_context(TiffFile(path))
        alone = _without_other_files(tiff.ome_metadata, path.name)
        yield tiff if alone is None else stack.enter_context(TiffFile(path, omexml=alone))


def _without_other_files(xml: str | None, name: str) -> str | None:
    """OME-XML with the names of all other files removed; None if it names none."""
    try:
        root = ElementTree.fromstring(xml) if xml and "FileName" in xml else None
    except ElementTree.ParseError:
        root = None
    if root is None:
        return None
    others = [one for one in root.iter() if one.get("FileName", name).lower() != name.lower()]
    others = [one for one in others if one.text != root.get("UUID")]  # the same file, renamed
    for one in others:
        one.set("FileName", "")
    return ElementTree.tostring(root, encoding="unicode") if others else None
