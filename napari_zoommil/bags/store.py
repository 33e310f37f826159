"""Features on disk: one zarr group per slide and encoder, resumable in mid-slide.

Layout: a group per magnification (``5x``, ``10x``, …) with ``features`` (N, D) float16 or float32,
``coords`` (N, 2) level-0 y and x, ``lattice``, ``parent``, ``tissue`` and ``done`` (one byte per chunk
of rows). A chunk of features is written before it is marked done, so a kill loses one chunk at most.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.errors import StoreError
from napari_zoommil.geometry import PatchGrid, PatchLevel, Rows, magnification_name

CHUNK_ROWS = 256
FORMAT = 1


@dataclass(frozen=True)
class StoreKey:
    """Whose features a store holds; a store of another slide or encoder is refused."""

    slide: str
    fingerprint: str
    encoder: str
    encoder_hash: str


def store_path(folder: Path, stem: str, fingerprint: str, encoder: str) -> Path:
    """Where the features of a slide lie in a store folder; slides of one name do not meet there."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in encoder)
    return folder / f"{stem}-{fingerprint[:8]}.{safe}.zarr"


class FeatureStore:
    """One slide's features; opened for writing by a single process."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path, self._group = path, group
        attributes: dict[str, Any] = dict(group.attrs)
        if attributes["format"] != FORMAT:
            raise ValueError(f"format {attributes['format']}, not {FORMAT}")
        self.grid = _read_grid(group)
        self.dim = int(attributes["dim"])
        self.key = StoreKey(**{name: str(attributes[name]) for name in StoreKey.__annotations__})

    @classmethod
    def create(
        cls, path: Path, key: StoreKey, grid: PatchGrid, dim: int, dtype: str = "float16"
    ) -> FeatureStore:
        """Open the store at ``path`` for writing, or make it.

        Raises
        ------
        StoreError
            If one is there that belongs to another slide, encoder or grid.
        """
        if path.exists():
            store = cls.open(path, mode="r+")
            store.check(key, grid)
            return store
        # Made aside and then renamed, so that a kill leaves no half-made store in its place.
        part_path = path.with_name(f"{path.name}.part")
        group = zarr.open_group(part_path, mode="w")
        for level in grid.levels:
            part = group.create_group(magnification_name(level.magnification))
            part.attrs.update(
                {"magnification": level.magnification, "mpp": level.mpp, "stride": list(level.stride)}
            )
            for name in ("lattice", "parent", "tissue"):
                part.create_array(name, data=getattr(level, name))
            part.create_array("coords", data=level.origins)
            part.create_array(
                "features",
                shape=(len(level), dim),
                chunks=(min(CHUNK_ROWS, max(1, len(level))), dim),
                dtype=dtype,
            )
            part.create_array("done", data=np.zeros(-(-len(level) // CHUNK_ROWS), np.uint8))
        group.attrs.update(
            {
                **key.__dict__,
                "format": FORMAT,
                "dim": dim,
                "shape": list(grid.shape),
                "patch_size": grid.patch_size,
            }
        )
        os.replace(part_path, path)
        return cls.open(path, mode="r+")

    @classmethod
    def open(cls, path: Path, mode: Any = "r") -> FeatureStore:
        """Open an existing store.

        Raises
        ------
        StoreError
            If there is none, or it is damaged.
        """
        try:
            return cls(path, zarr.open_group(path, mode=mode))
        except (KeyError, ValueError, OSError, TypeError, AssertionError, RuntimeError) as error:
            raise StoreError(
                f"{path} is not a whole feature store ({error!r}); delete it and embed again"
            ) from error

    def check(self, key: StoreKey, grid: PatchGrid) -> None:
        """Refuse a store of another slide, encoder or grid, by name."""
        if self.key.fingerprint != key.fingerprint:
            raise StoreError(
                f"{self.path} holds features of {self.key.slide}, not of {key.slide}; give another --store"
            )
        if self.key.encoder_hash != key.encoder_hash:
            raise StoreError(
                f"{self.path} was made with other weights of {self.key.encoder} than {key.encoder} has now; "
                "give another --store"
            )
        if not _same_patches(self.grid, grid):
            own, given = _described(self.grid), _described(grid)
            raise StoreError(
                f"{self.path} was made with other patches ({own}) than now ({given}); give another --store"
            )

    def _part(self, level: int, name: str) -> zarr.Array[Any]:
        return _array(self._group, f"{magnification_name(self.grid.levels[level].magnification)}/{name}")

    def missing(self, level: int) -> list[Rows]:
        """Chunks of rows that are not stored yet."""
        done = np.asarray(self._part(level, "done")[:])
        total = len(self.grid.levels[level])
        return [
            np.arange(start, min(start + CHUNK_ROWS, total))
            for start, is_done in zip(range(0, total, CHUNK_ROWS), done, strict=True)
            if not is_done
        ]

    def write(self, level: int, rows: Rows, features: NDArray[np.float32]) -> None:
        """Store one of the chunks that :meth:`missing` named."""
        self._part(level, "features")[int(rows[0]) : int(rows[-1]) + 1] = features
        self._part(level, "done")[int(rows[0]) // CHUNK_ROWS] = 1

    def read(self, level: int) -> NDArray[np.floating]:
        """All features of a magnification, (N, D), in the precision they are stored in."""
        return np.asarray(self._part(level, "features")[:])


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _read_grid(group: zarr.Group) -> PatchGrid:
    levels = [_read_level(part) for _, part in group.groups()]
    attributes: dict[str, Any] = dict(group.attrs)
    height, width = attributes["shape"]
    ordered = sorted(levels, key=lambda level: level.magnification)
    return PatchGrid((height, width), attributes["patch_size"], tuple(ordered))


def _read_level(part: zarr.Group) -> PatchLevel:
    attributes: dict[str, Any] = dict(part.attrs)
    y, x = attributes["stride"]
    arrays = {name: np.asarray(_array(part, name)[:]) for name in ("lattice", "parent", "tissue")}
    return PatchLevel(float(attributes["magnification"]), float(attributes["mpp"]), (y, x), **arrays)


def _same_patches(one: PatchGrid, other: PatchGrid) -> bool:
    return (one.patch_size, one.magnifications) == (other.patch_size, other.magnifications) and all(
        np.array_equal(a.lattice, b.lattice) and np.allclose(a.stride, b.stride)
        for a, b in zip(one.levels, other.levels, strict=True)
    )


def _described(grid: PatchGrid) -> str:
    counts = ", ".join(
        f"{len(level):,} at {magnification_name(level.magnification)}" for level in grid.levels
    )
    return f"{counts}, of {grid.patch_size} px"


class StoredBag:
    """A bag out of a complete feature store; a magnification is read when it is first asked for."""

    def __init__(self, store: FeatureStore) -> None:
        for level in range(len(store.grid.levels)):
            if store.missing(level):
                raise StoreError(f"{store.path} is not complete; run embed again to finish it")
        self.store, self.grid = store, store.grid
        self._features: dict[int, Tensor] = {}

    def features(self, level: int, rows: Rows) -> Tensor:
        if level not in self._features:
            self._features[level] = torch.from_numpy(self.store.read(level))
        return self._features[level][torch.from_numpy(rows)].float()
