"""The files of an OME-Zarr, none of which is waited for or read without a bound."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

from napari_zoommil.slides.readers.base import LARGEST_PIECE

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")

MOST_METADATA = 16 << 20
"""Bytes of a file of metadata that is read."""


class BoundedStore(LocalStore):
    """A folder whose pipes and devices are not opened, and whose files are read up to a size.

    The metadata are JSON, which takes many times its size in memory; a chunk is never larger than what it
    holds, but for a little.
    """

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """A file's content.

        Raises
        ------
        ValueError
            If it is no file, or too large.
        """
        path = self.root / key
        most = MOST_METADATA if path.name in METADATA else LARGEST_PIECE
        try:
            found = path.stat()
        except OSError:
            found = None
        if found is not None and not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise ValueError(f"{key} is a pipe, a socket or a device")
        if found is not None and byte_range is None and found.st_size > most:
            raise ValueError(f"{key} is larger than {most >> 20:,} MB")
        return await super().get(key, prototype, byte_range)
