"""The images that are stored in an OME-Zarr: the slide with all its resolutions, and the others.

The slide is the largest image: some programs write the macro image first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import UnsupportedSlideError
from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import LARGEST_PIECE, largest_of
from napari_zoommil.slides.readers.channels import Channel, NotColours, order_of, told_in_zarr
from napari_zoommil.slides.readers.colour import Model, misfit
from napari_zoommil.slides.readers.ome_xml import OMEImage, ome_images
from napari_zoommil.slides.units import microns

if TYPE_CHECKING:
    import zarr

Json = Mapping[str, Any]

SMALLEST_CHUNK = 256
"""Pixels of the smallest chunks that are read: each is a file, and a screen has millions of pixels."""

MOST_IMAGES, MOST_LEVELS = 64, 64
"""Images of a file, and levels of an image, that are looked at."""

OTHER_PIXELS = 1 << 26
"""Largest image besides the slide that is listed, px: it can only be read whole."""

MOST_XML = 16 << 20
"""Bytes of OME-XML that are read."""

FAULTS = (UnsupportedSlideError, LookupError, ValueError, TypeError, AttributeError)
"""What metadata that make no sense raise."""


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """One image of a file.

    Attributes
    ----------
    name : str
    arrays : tuple of zarr.Array
        From the finest to the coarsest.
    axes : tuple of str
    channels : tuple of int
        Those that are read, as grey, RGB or RGB and alpha.
    mpp : (float, float) or None
        Level-0 pixel size in µm, y and x.
    """

    name: str
    arrays: tuple[zarr.Array[Any], ...]
    axes: tuple[str, ...]
    channels: tuple[int, ...]
    mpp: Pair | None
    objective: float | None
    version: str

    @property
    def model(self) -> Model:
        return "grey" if len(self.channels) == 1 else "rgb"

    def extent(self, level: int) -> tuple[int, int]:
        """Height and width of a level."""
        return _plane(self.arrays[level].shape, self.axes)

    def chunk(self, level: int) -> tuple[int, int]:
        """Height and width of its chunks."""
        return _plane(self.arrays[level].chunks, self.axes)

    def samples(self, level: int, y: slice, x: slice) -> NDArray[Any]:
        """Samples (h, w, s) of a window, at the first index of every other axis."""
        window = {"y": y, "x": x, "c": slice(None)}
        block = np.asarray(self.arrays[level][tuple(window.get(name, 0) for name in self.axes)])
        kept = [name for name in self.axes if name in window]
        if "c" not in kept:
            block, kept = block[None], ["c", *kept]
        return block.transpose([kept.index(name) for name in "yxc"])[..., list(self.channels)]


def images_of(root: zarr.Group, path: Path) -> list[ZarrImage]:
    """The images of a file, first the slide; then those others that can be shown.

    Raises
    ------
    UnsupportedSlideError
        If there is none, or the slide cannot be shown.
    """
    stored = list(_stored(root, path))
    if not stored:
        raise UnsupportedSlideError(f"{path.name} is a zarr without an OME-Zarr image in it")
    # The first image is mostly the slide: without its finest level it must not give way to a macro image.
    main = 0 if stored[0].lacking else largest_of([one.extent for one in stored])
    found = [stored[main].image(path.name)]
    for at, one in enumerate(stored):
        if at != main and math.prod(one.extent) <= OTHER_PIXELS:
            with suppress(*FAULTS):
                found.append(one.image(path.name))
    return found


@dataclass(frozen=True, eq=False)
class _Stored:
    """An entry of ``multiscales``, in its group, which may have any fault."""

    group: zarr.Group
    key: str
    scales: Json
    told: OMEImage

    @cached_property
    def extents(self) -> list[tuple[int, int]]:
        """Of its levels; (0, 0) of one that cannot be read."""
        found = []
        with suppress(*FAULTS):
            axes = _axes(self.scales)
            for dataset in self.scales["datasets"][:MOST_LEVELS]:
                found.append((0, 0))
                with suppress(*FAULTS):
                    found[-1] = _plane(self._array(dataset, axes).shape, axes)
        return found

    @property
    def extent(self) -> tuple[int, int]:
        """Of its finest level that can be read."""
        return max(self.extents, key=math.prod, default=(0, 0))

    @property
    def lacking(self) -> bool:
        """Whether levels that it lists are missing: its extent is then not known."""
        return (0, 0) in self.extents

    def image(self, name: str) -> ZarrImage:
        axes = _axes(self.scales)
        levels = sorted(self._levels(axes), key=lambda one: -math.prod(_plane(one[0].shape, axes)))
        arrays = tuple(array for array, _ in levels)
        _check(name, arrays, axes)
        count = arrays[0].shape[axes.index("c")] if "c" in axes else 1
        try:
            channels = order_of(count, self._channels())
        except NotColours as error:
            raise UnsupportedSlideError(f"{name} {error}") from error
        return ZarrImage(
            self._name(),
            arrays,
            axes,
            channels,
            _mpp(self.scales, levels[0][1], axes) or self.told.mpp,
            self.told.objective,
            str(self.scales.get("version", _ome(self.group.attrs).get("version", ""))),
        )

    def _name(self) -> str:
        stated = str(self.scales.get("name") or self.told.name or self.key).strip()
        return stated.removesuffix(" image") or self.key

    def _channels(self) -> tuple[Channel, ...]:
        omero = _ome(self.group.attrs).get("omero")
        return (
            told_in_zarr(omero.get("channels") if isinstance(omero, Mapping) else None) or self.told.channels
        )

    def _levels(self, axes: Sequence[str]) -> Iterator[tuple[zarr.Array[Any], Json]]:
        datasets = self.scales["datasets"]
        if not datasets:
            raise ValueError("it has no levels")
        for dataset in datasets[:MOST_LEVELS]:
            yield self._array(dataset, axes), dataset

    def _array(self, dataset: Json, axes: Sequence[str]) -> zarr.Array[Any]:
        import zarr

        array = self.group.get(dataset["path"])
        if not isinstance(array, zarr.Array):
            raise ValueError(f"there are no pixels at {self.group.path}/{dataset['path']}")
        if array.ndim != len(axes):
            raise ValueError(f"it names {len(axes)} axes for {array.ndim}-D pixels")
        return array


def _ome(attributes: Json) -> Json:
    """NGFF 0.5 keeps its metadata under ``ome``, 0.4 at the top."""
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else {}


def _stored(root: zarr.Group, path: Path) -> Iterator[_Stored]:
    """The images in the root, or else in the groups of a file of several images."""
    told = _metadata(path)
    own = _ome(root.attrs).get("multiscales")
    if own is not None:
        yield from _entries(root, "0", own, told[0] if told else OMEImage())
        return
    keys = sorted((one.name for one in path.iterdir() if one.is_dir()), key=lambda key: (len(key), key))
    for key in keys[:MOST_IMAGES]:
        # Whatever is wrong with a member, others can be read; but the first is mostly the slide.
        with suppress(*(() if key == "0" else (LookupError, ValueError, TypeError, OSError))):
            group = root[key]
            at = int(key) if key.isdecimal() else len(told)
            entries = _ome(group.attrs).get("multiscales")
            if entries:
                yield from _entries(group, key, entries, told[at] if at < len(told) else OMEImage())


def _entries(group: Any, key: str, entries: Any, told: OMEImage) -> Iterator[_Stored]:
    if not (isinstance(entries, list) and entries and all(isinstance(one, Mapping) for one in entries)):
        raise ValueError("its multiscales are not a list of images")
    for at, one in enumerate(entries[:MOST_IMAGES]):
        yield _Stored(group, f"{key}.{at}" if at else key, one, told)


def _metadata(path: Path) -> list[OMEImage]:
    """What the OME-XML beside the images says of them, as bioformats2raw writes it."""
    file = path / "OME" / "METADATA.ome.xml"
    with suppress(OSError, ValueError):
        if file.is_file() and file.stat().st_size <= MOST_XML:
            return ome_images(file.read_text(encoding="utf-8"))
    return []


def _axes(scales: Json) -> tuple[str, ...]:
    found = tuple(axis["name"] if isinstance(axis, dict) else axis for axis in scales["axes"])
    if not {"y", "x"} <= set(found):
        raise ValueError("it names no axes y and x")
    return found


def _plane(sizes: Sequence[int], axes: Sequence[str]) -> tuple[int, int]:
    return sizes[axes.index("y")], sizes[axes.index("x")]


def _check(name: str, arrays: Sequence[zarr.Array[Any]], axes: Sequence[str]) -> None:
    """Refuse samples that are no brightness, and chunks that cost too much to read."""
    kinds = list(dict.fromkeys(array.dtype.newbyteorder("=") for array in arrays))
    if why := misfit(kinds[0]):
        raise UnsupportedSlideError(f"{name} {why}")
    if len(kinds) > 1:
        raise UnsupportedSlideError(f"{name} has levels of different samples, {kinds[0]} and {kinds[1]}")
    for array in arrays:
        extent, chunk = _plane(array.shape, axes), _plane(array.chunks, axes)
        if min(extent) < 1:
            raise UnsupportedSlideError(f"{name} has a level without pixels")
        size = math.prod(array.chunks) * array.dtype.itemsize
        if size > LARGEST_PIECE:
            raise UnsupportedSlideError(
                f"{name} is stored in chunks of {size / 1e9:,.3g} GB, too large to decode; "
                "write it again in chunks of about 512 × 512 px"
            )
        if math.prod(chunk) < SMALLEST_CHUNK < math.prod(extent):
            raise UnsupportedSlideError(
                f"{name} is stored in chunks of {chunk[1]:,} × {chunk[0]:,} px, too small to be read in "
                "time; write it again in chunks of about 512 × 512 px"
            )


def _mpp(scales: Json, finest: Json, axes: Sequence[str]) -> Pair | None:
    """µm per px of the finest level, if a scale and its units are stated."""
    units = [microns(axis.get("unit")) if isinstance(axis, dict) else None for axis in scales["axes"]]
    stated = [
        np.asarray(transform["scale"], float)
        for owner in (finest, scales)
        for transform in owner.get("coordinateTransformations", ())
        if transform.get("type") == "scale"
    ]
    if not stated:
        return None
    factors = np.prod(stated, 0)
    y, x = ((unit and float(factors[at]) * unit) for at in map(axes.index, "yx") for unit in [units[at]])
    return (y, x) if y and x else None
