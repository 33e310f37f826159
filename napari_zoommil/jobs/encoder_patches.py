"""The patches of a training of an encoder, read from slides or pictures, as a job."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import CohortError
from napari_zoommil.files import make_folder, replacing
from napari_zoommil.jobs.encoder_places import Annotated, balanced, labels_of, with_neighbours
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid
from napari_zoommil.slides.slide import stem_of

if TYPE_CHECKING:
    import shapely

    from napari_zoommil.geometry import PatchGrid, Rows
    from napari_zoommil.training.encoders.items import Item, Items
    from napari_zoommil.training.encoders.patches import Source

MOST_IN_MEMORY = 4 << 30
"""Bytes of patches that are held in memory; more are kept in a file."""

BATCH = 32


@dataclass(frozen=True)
class EncoderReading:
    """How patches are read.

    Attributes
    ----------
    patch_size : int
        px.
    magnification : float
        Of slides; pictures are read as they are.
    count : int
        Patches of all slides or pictures.
    min_tissue : float
        Least tissue share of a patch.
    tissue_detector : str
    mpp : float, optional
        Pixel size of level 0, or of the pictures, µm.
    icc : bool
    data : Path, optional
        Folder in which pixels are kept.
    annotated : Annotated
    supervised : bool
        Whether patches need a label.
    """

    patch_size: int
    magnification: float
    count: int
    min_tissue: float
    tissue_detector: str
    mpp: float | None
    icc: bool
    data: Path | None
    annotated: Annotated
    supervised: bool


class Piece(NamedTuple):
    """The chosen patches of one slide or picture, before their pixels are read."""

    item: Item
    rows: Rows
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    grid: PatchGrid | None
    mpp: float | None


@dataclass(frozen=True, eq=False)
class EncoderData:
    """Patches to train on, and what is known of them.

    Attributes
    ----------
    source : Source
    mpp : float or None
        Resolution of the patches, µm/px, the mean of all slides; None where it is not known.
    files : dict of str to int
        Slides or pictures by split.
    """

    source: Source
    mpp: float | None
    files: dict[str, int]


def read_patches(
    items: Items, reading: EncoderReading, seed: int, shares: tuple[float, float]
) -> Job[EncoderData]:
    """Choose patches, and read their pixels.

    Raises
    ------
    CohortError
        If there are too few, or labels are missing.
    FileError
        If they cannot be kept in ``data``.
    """
    from napari_zoommil.training.encoders.items import numbered
    from napari_zoommil.training.encoders.patches import PatchSet, beside, by_part

    parted = items.parted(seed, shares, reading.supervised and not items.are_slides)
    per_item = -(-reading.count // len(parted))
    choose = _of_slides if items.are_slides else _of_pictures
    classes, pieces = yield from choose(parted, reading, per_item, seed)
    total = sum(len(one.rows) for one in pieces)
    if not total:
        raise CohortError(
            "no patch was found to train on; check that there is tissue, and the size of patches"
        )
    pixels = yield from _pixels(pieces, reading, total)
    of_piece = np.repeat(np.arange(len(pieces)), [len(one.rows) for one in pieces])
    groups = numbered([one.item.group for one in pieces])
    neighbours = beside(of_piece, np.concatenate([one.places for one in pieces]), seed)
    labels = np.concatenate([one.labels for one in pieces])
    patches = PatchSet(pixels, of_piece, neighbours, labels, groups[of_piece], classes)
    part = np.array([one.item.split for one in pieces])
    known = [one.mpp for one in pieces if one.mpp is not None]
    return EncoderData(
        by_part(patches, part[of_piece]),
        float(np.mean(known)) if known else None,
        {split: int((part == split).sum()) for split in ("train", "val", "test")},
    )


Chosen = tuple[tuple[str, ...], list[Piece]]
"""Classes, and the patches of each slide or picture."""


def _of_slides(items: Sequence[Item], reading: EncoderReading, count: int, seed: int) -> Job[Chosen]:
    annotated = reading.annotated
    regions: dict[Path, dict[str, shapely.Geometry]] = {}
    if reading.supervised:
        for one in items:
            with Slide.open(one.path, reading.mpp, reading.icc) as slide:
                regions[one.path] = annotated.regions(one.path, stem_of(one.path), slide.origin)
    names = {name for areas in regions.values() for name in areas}
    classes = tuple(sorted(names | ({annotated.rest} if reading.supervised and annotated.rest else set())))
    pieces = []
    for number, item in enumerate(items, 1):
        title = f"slide {number} of {len(items)}: "
        with Slide.open(item.path, reading.mpp, reading.icc) as slide:
            found = find_tissue(slide, reading.tissue_detector)
            tissue = yield from retold(found, lambda told, title=title: replace(told, note=title + told.note))  # type: ignore[misc]
            grid = patch_grid(slide, tissue, (reading.magnification,), reading.patch_size, reading.min_tissue)
        level, rng = grid.levels[0], np.random.default_rng([seed, number])
        labels = np.full(len(level), -1)
        if reading.supervised:
            labels = labels_of(level, regions[item.path], annotated.rest, classes)
            rows = balanced(labels, count, rng)
        else:
            rows = with_neighbours(level, count, rng)
        pieces.append(Piece(item, rows, level.lattice[rows], labels[rows], grid, level.mpp))
    return classes, pieces


def _of_pictures(items: Sequence[Item], reading: EncoderReading, count: int, seed: int) -> Job[Chosen]:
    from napari_zoommil.training.encoders.pictures import cut, read_picture

    classes = tuple(sorted({one.label for one in items if one.label}))
    pieces = []
    for number, item in enumerate(items, 1):
        if number % BATCH == 1:
            yield Progress(number - 1, len(items), f"choosing patches: picture {number:,} of {len(items):,}")
        patches, places = cut(read_picture(item.path), reading.patch_size, reading.min_tissue)
        rows = np.sort(np.random.default_rng([seed, number]).permutation(len(patches))[:count])
        label = classes.index(item.label) if item.label else -1
        pieces.append(Piece(item, rows, places[rows], np.full(len(rows), label), None, reading.mpp))
    return classes, pieces


def _pixels(pieces: Sequence[Piece], reading: EncoderReading, total: int) -> Job[NDArray[np.uint8]]:
    """(total, p, p, 3) in memory, or mapped from a file that an earlier training may have filled."""
    shape = (total, reading.patch_size, reading.patch_size, 3)
    size = int(np.prod(shape))
    if reading.data is None:
        if size > MOST_IN_MEMORY:
            raise CohortError(
                f"{total:,} patches of {reading.patch_size} px take {size / 2**30:.0f} GiB; name a folder to "
                "keep them in with --data, or draw fewer with --patches"
            )
        pixels = np.empty(shape, np.uint8)
        yield from _fill(pixels, pieces, reading)
        return pixels
    path = make_folder(reading.data) / f"patches-{_key(pieces, reading)}.npy"
    if not path.is_file():
        with replacing(path) as part:
            mapped = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            yield from _fill(mapped, pieces, reading)
            mapped.flush()
            del mapped  # Windows does not rename what is mapped
    found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return found


def _fill(out: NDArray[np.uint8], pieces: Sequence[Piece], reading: EncoderReading) -> Job[None]:
    from napari_zoommil.bags.reading import read_batches
    from napari_zoommil.training.encoders.pictures import cut, read_picture

    done = 0
    for number, one in enumerate(pieces, 1):
        title = f"reading patches: {number:,} of {len(pieces):,} files"
        yield Progress(done, len(out), title)
        if one.grid is None:
            found = cut(read_picture(one.item.path), reading.patch_size, reading.min_tissue)[0]
            out[done : done + len(one.rows)] = found[one.rows]
            done += len(one.rows)
            continue
        with ExitStack() as stack:
            slide = stack.enter_context(Slide.open(one.item.path, reading.mpp, reading.icc))
            batches = read_batches(slide, one.grid, 0, one.rows, BATCH)
            for rows, pixels in stack.enter_context(closing(batches)):
                out[done : done + len(rows)] = pixels
                done += len(rows)
                yield Progress(done, len(out), title)


def _key(pieces: Sequence[Piece], reading: EncoderReading) -> str:
    """By which a file of patches is found again: the files, their state, and the patches."""
    digest = hashlib.sha256(
        repr((reading.patch_size, reading.magnification, reading.mpp, reading.icc)).encode()
    )
    for one in pieces:
        state = one.item.path.stat()
        digest.update(f"{one.item.path.name} {state.st_size} {state.st_mtime_ns}".encode())
        digest.update(one.places.tobytes())
    return digest.hexdigest()[:16]
