"""Decoded tiles: windows assembled from them, and the cache that all open slides share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import numpy as np
from cachetools import LRUCache

from napari_zoommil.errors import SlideError, UnsupportedSlideError, first_line
from napari_zoommil.files import real
from napari_zoommil.slides.readers.base import RGB, shrunken

CACHE_BYTES = 64 << 20
"""Size of the cache of all open slides: two 4K screens, or a row of tiles of a wide slide."""


class TileCache:
    """Least-recently-used cache of tiles, bounded in bytes; concurrent requests for a tile decode it once.

    A view of a larger array is copied, so that the bytes counted are the bytes held. A tile larger than
    the whole cache is kept until the next such tile: an image that can only be decoded whole would
    otherwise be decoded for every window.

    A key is a tuple whose first item is the owner of the tile, see :meth:`drop`.
    """

    def __init__(self, limit: int) -> None:
        self._tiles: LRUCache[Hashable, RGB] = LRUCache(limit, getsizeof=lambda tile: tile.nbytes)
        self._oversized: dict[Hashable, RGB] = {}
        self._coming: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def get(self, key: Hashable, decode: Callable[[], RGB]) -> RGB:
        """The tile of a key, read-only; decoded here unless another thread is decoding it."""
        while True:
            with self._lock:
                tile = self._tiles.get(key)
                if tile is None:
                    tile = self._oversized.get(key)
                if tile is not None:
                    return tile
                coming = self._coming.get(key)
                if coming is None:
                    ours = self._coming[key] = Lock()
                    ours.acquire()
                    break
            with coming:  # wait until the other thread has decoded it, or has failed
                pass
        try:
            tile = _compact(decode())
            tile.flags.writeable = False
            with self._lock:
                self._keep(key, tile)
            return tile
        finally:
            with self._lock:
                del self._coming[key]
            ours.release()

    def _keep(self, key: Hashable, tile: RGB) -> None:
        if tile.nbytes <= self._tiles.maxsize:
            self._tiles[key] = tile
        else:
            self._oversized = {key: tile}

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._tiles or key in self._oversized

    @property
    def nbytes(self) -> int:
        """Bytes of decoded pixels in the cache."""
        with self._lock:
            return int(self._tiles.currsize) + sum(tile.nbytes for tile in self._oversized.values())

    def drop(self, owner: Hashable) -> None:
        """Remove the tiles of an owner, which is the first item of their keys."""
        with self._lock:
            for tiles in (self._tiles, self._oversized):
                for key in [each for each in tiles if isinstance(each, tuple) and each[0] == owner]:
                    del tiles[key]

    def clear(self) -> None:
        """Remove all tiles; tiles that are being decoded are still added."""
        with self._lock:
            self._tiles.clear()
            self._oversized.clear()


def _compact(tile: RGB) -> RGB:
    """The same pixels in an array that owns no more memory than they need."""
    owner: Any = tile
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return tile.copy() if memoryview(owner).nbytes > tile.nbytes else tile


TILES = TileCache(CACHE_BYTES)


class _Damage(set[tuple[int, int, int]]):
    """(level, row, column) of the tiles of a file that cannot be decoded."""


_DAMAGED: WeakValueDictionary[Hashable, _Damage] = WeakValueDictionary()

_OPEN: WeakSet[TiledImage] = WeakSet()

_SHARED = Lock()
"""Held while images are opened or closed."""

PROBES = 4
"""Tiles tried on opening before a slide counts as one that cannot be decoded."""

PROBED_PX = 1 << 24
"""Tiles larger than this are not tried on opening, which must be quick, px."""


def identity(path: Path) -> Hashable:
    """Path, sizes and times of a file, or of a folder and its entries; differs after a change.

    Images with the same identity share their decoded tiles.
    """
    files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return str(real(path)), tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def damage_of(identity: Hashable) -> set[tuple[int, int, int]]:
    """(level, row, column) of the tiles of a file that cannot be decoded; shared like the tiles."""
    with _SHARED:
        return _DAMAGED.setdefault(identity, _Damage())


def damage_note(count: int) -> str:
    """Message about damaged tiles; empty if there are none."""
    return f"{count:,} damaged tile{'s' if count > 1 else ''}, read as background" if count else ""


@dataclass(frozen=True)
class TiledLevel:
    """Extent of a level and of its tiles, px (y, x); tiles at the bottom and right may overhang."""

    shape: tuple[int, int]
    tile: tuple[int, int]


class TiledImage:
    """Windows of a tiled pyramid, read through the shared cache.

    The tiles of a file are removed from the cache when its last image is closed.

    Parameters
    ----------
    identity : Hashable
        Identity of the file: images of the same file share decoded tiles.
    levels : sequence of TiledLevel
    decode : callable
        ``decode(level, row, column, shrink)`` → the tile, (h, w, 3) uint8; at the bottom and right it
        may be larger than the level. It raises :class:`SlideError` if the slide cannot be read at
        all; any other exception marks this tile as damaged.
    background : (int, int, int)
        Colour of tiles that cannot be decoded.
    """

    def __init__(
        self,
        identity: Hashable,
        levels: Sequence[TiledLevel],
        decode: Callable[[int, int, int, int], RGB],
        background: tuple[int, int, int],
    ) -> None:
        self.identity, self.levels, self.background = identity, tuple(levels), background
        self._decode = decode
        self._damaged = damage_of(identity)
        with _SHARED:
            _OPEN.add(self)

    @property
    def damaged(self) -> int:
        """Number of tiles of the file that could not be decoded so far, by any image."""
        return len(self._damaged)

    def probe(self, name: str) -> None:
        """Decode one tile; UnsupportedSlideError if none of the tiles tried can be decoded."""
        level, reasons = len(self.levels) - 1, []
        shape, tile = self.levels[level].shape, self.levels[level].tile
        if tile[0] * tile[1] > PROBED_PX:
            return
        rows, columns = (-(-extent // edge) for extent, edge in zip(shape, tile, strict=True))
        for index in {round(step * (rows * columns - 1) / PROBES) for step in range(PROBES + 1)}:
            try:
                self._decode(level, *divmod(index, columns), 1)
                return
            except SlideError:
                raise
            except Exception as error:  # each codec raises errors of its own
                reasons.append(first_line(error))
        raise UnsupportedSlideError(
            f"{name} cannot be decoded ({reasons[0]}); try another copy of it, or convert it to a tiled TIFF"
        )

    def read(self, level: int, y: int, x: int, height: int, width: int, shrink: int = 1) -> RGB:
        """As :meth:`Reader.read`; read-only if the window is exactly one tile."""
        rows, columns = (edge // shrink for edge in self.levels[level].tile)
        first_row, first_column = y // rows, x // columns
        last_row, last_column = (y + height - 1) // rows, (x + width - 1) // columns
        if first_row == last_row and first_column == last_column:
            tile = self.tile(level, first_row, first_column, shrink)
            top, left = y - first_row * rows, x - first_column * columns
            window = tile[top : top + height, left : left + width]
            return window if window.shape == tile.shape else window.copy()  # a view would hold the tile
        out = np.empty((height, width, 3), np.uint8)
        for row in range(first_row, last_row + 1):
            top = row * rows - y
            y0, y1 = max(top, 0), min(top + rows, height)
            for column in range(first_column, last_column + 1):
                left = column * columns - x
                x0, x1 = max(left, 0), min(left + columns, width)
                tile = self.tile(level, row, column, shrink)
                out[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def tile(self, level: int, row: int, column: int, shrink: int = 1) -> RGB:
        """One tile, cropped to the level; background if it cannot be decoded."""
        key = (self.identity, level, row, column, shrink)
        tile = TILES.get(key, lambda: self._decoded(level, row, column, shrink))
        if self not in _OPEN:  # it was closed in the meantime
            self.close()
        return tile

    def close(self) -> None:
        """Close the image; if it was the last of its file, remove the tiles from the cache."""
        with _SHARED:
            _OPEN.discard(self)
            if all(other.identity != self.identity for other in _OPEN):
                TILES.drop(self.identity)

    def _decoded(self, level: int, row: int, column: int, shrink: int) -> RGB:
        geometry = self.levels[level]
        extent = shrunken(geometry.shape, shrink)
        rows, columns = (edge // shrink for edge in geometry.tile)
        height, width = min(rows, extent[0] - row * rows), min(columns, extent[1] - column * columns)
        try:
            tile = self._decode(level, row, column, shrink)
            if tile.shape[0] < height or tile.shape[1] < width:
                raise ValueError(f"a tile of {tile.shape[:2]} px, not {(height, width)}")
        except SlideError:
            raise
        except Exception:  # each codec raises errors of its own
            self._damaged.add((level, row, column))
            return np.broadcast_to(np.array(self.background, np.uint8), (height, width, 3))  # takes no memory
        whole = tile.shape[:2] == (height, width)
        return tile if whole else tile[:height, :width].copy()  # a view would hold the whole tile
