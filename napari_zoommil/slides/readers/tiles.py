"""Decoded tiles: windows put together from them, and the one cache that all open slides share."""

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
from napari_zoommil.slides.readers.base import RGB, shrunken

CACHE_BYTES = 64 << 20
"""Decoded pixels kept for all open slides together: two 4K screens, or a row of tiles of a wide slide."""


class TileCache:
    """Tiles by key, bounded in bytes; what several threads ask for at once is decoded once.

    The bytes counted are the bytes held: a view of something larger is copied. A tile larger than the
    whole cache is kept until the next such one: an image that can only be decoded in one piece would
    otherwise be decoded for every window.

    A key is a tuple whose first part says whose the tile is, see :meth:`drop`.
    """

    def __init__(self, limit: int) -> None:
        self._tiles: LRUCache[Hashable, RGB] = LRUCache(limit, getsizeof=lambda tile: tile.nbytes)
        self._oversized: dict[Hashable, RGB] = {}
        self._coming: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def get(self, key: Hashable, decode: Callable[[], RGB]) -> RGB:
        """The tile of a key, read-only; decoded here if no other thread is about it."""
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
            with coming:  # until the other thread has it, or has failed
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
        """Bytes of decoded pixels held."""
        with self._lock:
            return int(self._tiles.currsize) + sum(tile.nbytes for tile in self._oversized.values())

    def drop(self, owner: Hashable) -> None:
        """Forget what belongs to an owner: the first part of its keys."""
        with self._lock:
            for tiles in (self._tiles, self._oversized):
                for key in [each for each in tiles if isinstance(each, tuple) and each[0] == owner]:
                    del tiles[key]

    def clear(self) -> None:
        """Forget everything; what is just being decoded comes in again."""
        with self._lock:
            self._tiles.clear()
            self._oversized.clear()


def _compact(tile: RGB) -> RGB:
    """The same pixels in memory that is no larger than they are."""
    owner: Any = tile
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return tile.copy() if memoryview(owner).nbytes > tile.nbytes else tile


TILES = TileCache(CACHE_BYTES)


class _Damage(set[tuple[int, int, int]]):
    """Level, row and column of a file's tiles that cannot be decoded."""


_DAMAGED: WeakValueDictionary[Hashable, _Damage] = WeakValueDictionary()

_OPEN: WeakSet[TiledImage] = WeakSet()

_SHARED = Lock()
"""Held while handles of a file come or go."""

PROBES = 4
"""Tiles of a new slide that are tried before it counts as one that cannot be decoded."""

PROBED_PX = 1 << 24
"""Pixels of a tile above which none is tried: opening must stay quick."""


def identity(path: Path) -> Hashable:
    """What tells one state of a file, or of a folder and its entries, from another.

    Handles of one slide share their tiles by it.
    """
    files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return str(path.resolve()), tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def damage_of(identity: Hashable) -> set[tuple[int, int, int]]:
    """Level, row and column of a file's tiles that cannot be decoded: as shared as the tiles are."""
    with _SHARED:
        return _DAMAGED.setdefault(identity, _Damage())


def damage_note(count: int) -> str:
    """What is said of a slide with damaged tiles; nothing of a sound one."""
    return f"{count:,} damaged tile{'s' if count > 1 else ''}, read as background" if count else ""


@dataclass(frozen=True)
class TiledLevel:
    """Extent of a level and of its tiles, px (y, x); tiles at the far edges may overhang."""

    shape: tuple[int, int]
    tile: tuple[int, int]


class TiledImage:
    """Windows of a tiled pyramid, through the shared cache.

    The tiles of a file leave the cache when its last image is closed.

    Parameters
    ----------
    identity : Hashable
        Of the file: readers of one file share what they have decoded.
    levels : sequence of TiledLevel
    decode : callable
        ``decode(level, row, column, shrink)`` → the tile, (h, w, 3) uint8, or larger at the far
        edges. It raises :class:`SlideError` where the slide cannot be read at all; any other
        exception condemns this tile only.
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
        """Tiles of the file that could not be decoded so far, through any handle."""
        return len(self._damaged)

    def probe(self, name: str) -> None:
        """Decode a tile; UnsupportedSlideError if none of those that are tried can be."""
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
        """As :meth:`Reader.read`; read-only where the window is a tile."""
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
        """One tile, cut off where the level ends; background if it cannot be decoded."""
        key = (self.identity, level, row, column, shrink)
        tile = TILES.get(key, lambda: self._decoded(level, row, column, shrink))
        if self not in _OPEN:  # any more: it was closed meanwhile
            self.close()
        return tile

    def close(self) -> None:
        """Let go of what is kept for this image, if nobody else has the file open."""
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
            return np.broadcast_to(np.array(self.background, np.uint8), (height, width, 3))  # of no size
        whole = tile.shape[:2] == (height, width)
        return tile if whole else tile[:height, :width].copy()  # a view would hold the whole tile
