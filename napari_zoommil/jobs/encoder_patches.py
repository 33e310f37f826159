"""The patches of a training of an encoder, read from slides or pictures, as a job."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

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

SPLITS = ("train", "val", "test")

FEW = 0.5
"""Share of the patches that were asked for, below which it is said that they are few."""


@dataclass(frozen=True)
class EncoderReading:
    """How patches are read.

    Attributes
    ----------
    patch_size : int
        px.
    magnification : float
        Of slides; pictures are read as they are.
    count : int or (int, int)
        Patches of all slides or pictures, which are divided over these alike; or those to train on and those
        to validate on, and then of a slide or picture to test on as many as of one to validate on.
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
    channels : {1, 3}
        1 for grey: the mean of the colours.
    """

    patch_size: int
    magnification: float
    count: int | tuple[int, int]
    min_tissue: float
    tissue_detector: str
    mpp: float | None
    icc: bool
    data: Path | None
    annotated: Annotated
    supervised: bool
    channels: Literal[1, 3] = 3


class Piece(NamedTuple):
    """The chosen patches of one slide or picture, before their pixels are read."""

    item: Item
    rows: Rows
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    grid: PatchGrid | None
    mpp: float | None


@dataclass(frozen=True, eq=False)
class ChosenPatches:
    """The patches of a training, before their pixels are read.

    Attributes
    ----------
    classes : tuple of str
    pieces : list of Piece
        Of each slide or picture.
    """

    classes: tuple[str, ...]
    pieces: list[Piece]

    @property
    def files(self) -> dict[str, int]:
        """Number of slides or pictures, by split."""
        return {name: sum(one.item.split == name for one in self.pieces) for name in SPLITS}

    @property
    def patches(self) -> dict[str, int]:
        """Number of patches, by split."""
        return {name: sum(len(one.rows) for one in self.pieces if one.item.split == name) for name in SPLITS}

    @property
    def mpp(self) -> float | None:
        """Resolution of the patches, µm/px, the mean of all slides; None where it is not known."""
        known = [one.mpp for one in self.pieces if one.mpp is not None]
        return float(np.mean(known)) if known else None

    @property
    def hash(self) -> str:
        """Of what is learnt from: a training goes on with the same only."""
        digest = hashlib.sha256()
        for one in self.pieces:
            digest.update(repr((one.item.path.name, *one.item[1:])).encode())
            digest.update(one.places.tobytes() + one.labels.tobytes())
        return digest.hexdigest()[:16]


def choose_patches(
    items: Items, reading: EncoderReading, seed: int, shares: tuple[float, float]
) -> Job[ChosenPatches]:
    """Choose patches of slides or pictures.

    Raises
    ------
    CohortError
        If there are none, or labels are missing.
    """
    parted = items.parted(seed, shares, reading.supervised and not items.are_slides)
    choose = _of_slides if items.are_slides else _of_pictures
    counts = _per_item(parted, reading.count)
    chosen = yield from choose(parted, reading, counts, seed)
    if not any(chosen.patches.values()):
        raise CohortError(
            "no patch was found to train on; check that there is tissue, and the size of patches"
        )
    _warn_of_few(chosen.patches["train"], counts["train"] * chosen.files["train"], reading.patch_size)
    return chosen


def _warn_of_few(found: int, asked: int, size: int) -> None:
    if found < FEW * asked:
        warnings.warn(
            f"only {found:,} of {asked:,} patches of {size} px to train on were found, which do not overlap; "
            "an encoder learns little from few: give more slides or pictures, or smaller patches",
            stacklevel=2,
        )


def read_patches(chosen: ChosenPatches, reading: EncoderReading, seed: int) -> Job[Source]:
    """Read the pixels of patches.

    Raises
    ------
    CohortError
        If they are more than memory is to hold.
    FileError
        If they cannot be kept in ``data``.
    """
    from napari_zoommil.training.encoders.items import numbered
    from napari_zoommil.training.encoders.patches import PatchSet, beside, by_part

    pieces = chosen.pieces
    pixels = yield from _pixels(pieces, reading, sum(chosen.patches.values()))
    of_piece = np.repeat(np.arange(len(pieces)), [len(one.rows) for one in pieces])
    groups = numbered([one.item.group for one in pieces])
    neighbours = beside(of_piece, np.concatenate([one.places for one in pieces]), seed)
    labels = np.concatenate([one.labels for one in pieces])
    patches = PatchSet(pixels, of_piece, neighbours, labels, groups[of_piece], chosen.classes)
    return by_part(patches, np.array([one.item.split for one in pieces])[of_piece])


def _per_item(items: Sequence[Item], count: int | tuple[int, int]) -> dict[str, int]:
    """Patches of a slide or picture, by split."""
    if isinstance(count, int):
        return dict.fromkeys(SPLITS, -(-count // len(items)))
    train, val = (
        -(-own // sum(one.split == split for one in items))
        for own, split in zip(count, ("train", "val"), strict=True)
    )
    return {"train": train, "val": val, "test": val}


def _of_slides(
    items: Sequence[Item], reading: EncoderReading, counts: Mapping[str, int], seed: int
) -> Job[ChosenPatches]:
    annotated = reading.annotated
    regions: dict[Path, dict[str, shapely.Geometry]] = {}
    if reading.supervised:
        for one in items:
            with Slide.open(one.path, reading.mpp, reading.icc) as slide:
                regions[one.path] = annotated.regions(one.path, stem_of(one.path), slide.origin)
    names = {name for areas in regions.values() for name in areas}
    if reading.supervised:
        classes = tuple(sorted(names | ({annotated.rest} if annotated.rest else set())))
    else:
        classes = tuple(sorted({one.label for one in items if one.label}))
    pieces = []
    for number, item in enumerate(items, 1):
        title = f"slide {number} of {len(items)}: "
        with Slide.open(item.path, reading.mpp, reading.icc) as slide:
            found = find_tissue(slide, reading.tissue_detector)
            tissue = yield from retold(found, lambda told, title=title: replace(told, note=title + told.note))  # type: ignore[misc]
            grid = patch_grid(slide, tissue, (reading.magnification,), reading.patch_size, reading.min_tissue)
        level, rng = grid.levels[0], np.random.default_rng([seed, number])
        if reading.supervised:
            labels = labels_of(level, regions[item.path], annotated.rest, classes)
            rows = np.flatnonzero(labels >= 0)
        else:  # the slide's label is not learnt from; a probe on the codes needs one
            labels = np.full(len(level), classes.index(item.label) if item.label else -1)
            rows = with_neighbours(level.lattice, counts[item.split], rng)
        pieces.append(Piece(item, rows, level.lattice[rows], labels[rows], grid, level.mpp))
    return ChosenPatches(classes, _balanced(pieces, counts, seed) if reading.supervised else pieces)


def _balanced(pieces: Sequence[Piece], counts: Mapping[str, int], seed: int) -> list[Piece]:
    """Labelled patches of slides, the classes balanced over all slides of a split."""
    found = list(pieces)
    for number, (split, count) in enumerate(counts.items()):
        own = [at for at, one in enumerate(found) if one.item.split == split]
        chosen = balanced(
            [found[at].labels for at in own], count * len(own), np.random.default_rng([seed, number])
        )
        for at, rows in zip(own, chosen, strict=True):
            one = found[at]
            found[at] = one._replace(rows=one.rows[rows], places=one.places[rows], labels=one.labels[rows])
    return found


def _of_pictures(
    items: Sequence[Item], reading: EncoderReading, counts: Mapping[str, int], seed: int
) -> Job[ChosenPatches]:
    from napari_zoommil.training.encoders.pictures import cut, read_picture

    classes = tuple(sorted({one.label for one in items if one.label}))
    pieces, seen = [], Counter[str]()
    for number, item in enumerate(items, 1):
        if number % BATCH == 1:
            yield Progress(number - 1, len(items), f"choosing patches: picture {number:,} of {len(items):,}")
        patches, places = cut(read_picture(item.path), reading.patch_size, reading.min_tissue)
        rng, count = np.random.default_rng([seed, number]), counts[item.split]
        seen[item.split] += 1
        if count == 1 and not reading.supervised:  # a pair of every second picture instead
            count = 2 * (seen[item.split] % 2)
        if reading.supervised:
            rows = np.sort(rng.permutation(len(patches))[:count])
        else:
            rows = with_neighbours(places, count, rng)
        label = classes.index(item.label) if item.label else -1
        pieces.append(Piece(item, rows, places[rows], np.full(len(rows), label), None, reading.mpp))
    return ChosenPatches(classes, pieces)


def _pixels(pieces: Sequence[Piece], reading: EncoderReading, total: int) -> Job[NDArray[np.uint8]]:
    """(total, p, p, 3) in memory, or mapped from a file that an earlier training may have filled."""
    shape = (total, reading.patch_size, reading.patch_size, reading.channels)
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
    from napari_zoommil.training.encoders.pictures import coloured, cut, read_picture

    done = 0
    for number, one in enumerate(pieces, 1):
        title = f"reading patches: {number:,} of {len(pieces):,} files"
        yield Progress(done, len(out), title)
        if one.grid is None:
            found = cut(read_picture(one.item.path), reading.patch_size, reading.min_tissue)[0]
            out[done : done + len(one.rows)] = coloured(found[one.rows], reading.channels)
            done += len(one.rows)
            continue
        with ExitStack() as stack:
            slide = stack.enter_context(Slide.open(one.item.path, reading.mpp, reading.icc))
            batches = read_batches(slide, one.grid, 0, one.rows, BATCH)
            for rows, pixels in stack.enter_context(closing(batches)):
                out[done : done + len(rows)] = coloured(pixels, reading.channels)
                done += len(rows)
                yield Progress(done, len(out), title)


def _key(pieces: Sequence[Piece], reading: EncoderReading) -> str:
    """By which a file of patches is found again: the files, their state, and the patches."""
    digest = hashlib.sha256(
        repr((reading.patch_size, reading.magnification, reading.mpp, reading.icc, reading.channels)).encode()
    )
    for one in pieces:
        state = one.item.path.stat()
        digest.update(f"{one.item.path.name} {state.st_size} {state.st_mtime_ns}".encode())
        digest.update(one.places.tobytes())
    return digest.hexdigest()[:16]
