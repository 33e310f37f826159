"""A whole-slide image: units, lazy pyramid and pixels at any resolution."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from napari_zoommil.errors import MagnificationError, MissingResolutionError, SlideError
from napari_zoommil.geometry import Pair, magnification_of, mpp_of, mpp_text
from napari_zoommil.slides.fingerprint import fingerprint
from napari_zoommil.slides.pixel_size import PixelSize, recall, remember
from napari_zoommil.slides.readers.base import RGB, Level, Reader, open_reader, shrunken
from napari_zoommil.slides.readers.icc import ColourManagedReader, colour_managed
from napari_zoommil.slides.readers.tiles import TILES
from napari_zoommil.slides.resample import choose_level, choose_shrink, read_padded, read_scaled

if TYPE_CHECKING:
    import dask.array as da

SNAP = 0.01
"""Relative difference up to which a stored resolution serves a nominal magnification unresampled.

Features change with the scale: from 0.243 to 0.2615 µm/px by a quarter of the distance between two patches.
"""

BOUNDS = ("openslide.bounds-y", "openslide.bounds-x")

UPSAMPLING = 1.25
"""Largest factor by which level 0 may be enlarged to reach a magnification."""


def as_pair(mpp: float | Pair | None) -> Pair | None:
    """A resolution as (y, x)."""
    if mpp is None:
        return None
    try:
        y, x = np.broadcast_to(np.asarray(mpp, float), 2).tolist()
    except (TypeError, ValueError):
        y = x = np.nan
    if not (0 < y < np.inf and 0 < x < np.inf):
        raise SlideError(f"a resolution of {mpp} µm/px is not possible; give a positive number")
    return y, x


def stem_of(path: Path) -> str:
    """A slide's name without its extension; ``.ome.zarr`` counts as one, the name of a DICOM UID has none."""
    if path.suffix[1:].isdigit():
        return path.name
    return path.name.removesuffix(path.suffix).removesuffix(".ome") or path.name


class Slide:
    """One open whole-slide image; reads are thread-safe.

    Open it with :meth:`open` and use it as a context manager, or :meth:`close` it.

    Attributes
    ----------
    path : Path
    shape : (int, int)
        Level-0 extent, px.
    mpp : (float, float) or None
        Level-0 pixel size, µm, (y, x): as the caller or the file states it, or as it was set for this slide
        before (:meth:`set_mpp`); else None.
    mpp_set : PixelSize or None
        Who set ``mpp``, and when, if it was set before.
    levels : tuple of Level
        Stored levels, finest first, with float downsamples.
    """

    def __init__(self, path: Path, reader: Reader, mpp: Pair | None) -> None:
        self.path = path
        self._reader = self._shown = reader
        self.levels: tuple[Level, ...] = reader.levels
        self.shape = reader.levels[0].shape
        self.mpp_set: PixelSize | None = None
        self.mpp = mpp or reader.mpp
        if self.mpp is None and (known := recall(path)) is not None:
            self.mpp, self.mpp_set = known.mpp, known

    @classmethod
    def open(cls, path: str | Path, mpp: float | Pair | None = None, icc: bool = False) -> Slide:
        """Open a slide file, a DICOM folder, an OME-Zarr folder or an image.

        Parameters
        ----------
        path : str or Path
        mpp : float or (float, float), optional
            Pixel size in µm; overrides what the file states, and what was set before.
        icc : bool
            Convert pixels to sRGB by the file's colour profile, if it has one.

        Raises
        ------
        SlideError
            If the file is missing, damaged, or not in a supported format.
        """
        path = Path(path)
        with suppress(RuntimeError):  # "~x.svs" is a file name if there is no such user
            path = path.expanduser()
        slide = cls(path, open_reader(path), as_pair(mpp))
        slide.manage_colours(icc)
        return slide

    def set_mpp(self, mpp: float | Pair, by: str = "") -> None:
        """Set the pixel size; it is remembered for a slide whose file states none.

        Parameters
        ----------
        mpp : float or (float, float)
            µm, (y, x).
        by : str
            Who sets it.

        Raises
        ------
        FileError
            If it cannot be stored; it is valid for this handle all the same.
        """
        self.mpp = as_pair(mpp)
        self.mpp_set = None
        if self.stated_mpp is None and self.mpp is not None:
            self.mpp_set = remember(self.path, self.mpp, by)

    def manage_colours(self, on: bool) -> None:
        """Switch on or off the conversion of pixels to sRGB by the file's colour profile, if it has one."""
        self._shown = colour_managed(self._reader) if on else self._reader
        self.__dict__.pop("fingerprint", None)

    def reopen(self, mpp: float | Pair | None = None, icc: bool = False) -> Slide:
        """A second, independent handle on the same slide, for a job that runs beside the viewer."""
        return Slide.open(self.path, mpp or self.mpp, icc or self.colour_managed)

    def close(self) -> None:
        self._reader.close()
        TILES.drop(ref(self))  # chunks of its pyramid

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Slide({self.name!r}, {self.shape[0]}×{self.shape[1]} px, {self.vendor})"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def stem(self) -> str:
        """Name without its extension, see :func:`stem_of`."""
        return stem_of(self.path)

    @property
    def stated_mpp(self) -> Pair | None:
        """Pixel size as the file states it."""
        return self._reader.mpp

    @property
    def vendor(self) -> str:
        return self._reader.vendor

    @property
    def properties(self) -> Mapping[str, str]:
        return self._reader.properties

    @property
    def background(self) -> tuple[int, int, int]:
        """Colour of what was not scanned."""
        return self._shown.background

    @property
    def origin(self) -> Pair:
        """Corner, level-0 (y, x), of the part that was scanned, from which QuPath counts its coordinates.

        It is (0, 0) except on slides of which OpenSlide states bounds (MRXS, SCN, BIF).
        """
        try:
            y, x = (float(self.properties.get(name, 0)) for name in BOUNDS)
        except ValueError:
            return 0.0, 0.0
        return (y, x) if 0 <= y < self.shape[0] and 0 <= x < self.shape[1] else (0.0, 0.0)

    @property
    def associated(self) -> tuple[str, ...]:
        """Names of label, macro and thumbnail images; they can identify a patient: read only on request."""
        return self._reader.associated

    def associated_image(self, name: str) -> RGB:
        if name not in self.associated:
            known = ", ".join(self.associated) or "none"
            raise SlideError(f"{self.name} has no image {name!r}; it has {known}")
        return self._reader.associated_image(name)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the pixels, independent of the file's name and location."""
        try:
            return fingerprint(self.path, "icc" if self.colour_managed else "")
        except OSError as error:
            raise SlideError(f"{self.name} cannot be read any more: {error}") from error

    @property
    def icc(self) -> bytes | None:
        """The file's colour profile."""
        return self._reader.icc

    @property
    def colour_managed(self) -> bool:
        """Whether pixels are converted to sRGB by the file's colour profile."""
        return isinstance(self._shown, ColourManagedReader)

    @property
    def shrinks(self) -> tuple[int, ...]:
        """Factors by which pixels can be reduced while decoding, at less cost."""
        return self._reader.shrinks

    @property
    def damaged(self) -> int:
        """Number of tiles that could not be decoded so far and were read as background."""
        return self._reader.damaged

    @property
    def magnification(self) -> float | None:
        """Nominal magnification of level 0; the stated objective only if ``mpp`` is unknown."""
        if self.mpp:
            return magnification_of(sum(self.mpp) / 2)
        return self._reader.objective

    def resolution(self) -> Pair:
        """``mpp``; :class:`MissingResolutionError` if it is unknown."""
        if self.mpp is None:
            raise MissingResolutionError(self.name)
        return self.mpp

    def serving_mpp(self, magnification: float) -> float:
        """Resolution in µm/px at which patches of a magnification are read from this slide.

        The nominal resolution, or that of level 0 times a power of two if the two differ by at most 1 %,
        which avoids resampling.

        Raises
        ------
        MagnificationError
            If the slide's resolution is too low.
        """
        own = sum(self.resolution()) / 2
        nominal = mpp_of(magnification)
        if own > nominal * UPSAMPLING:
            raise self.too_coarse(f"{magnification:g}x", nominal)
        octave = 2 ** round(np.log2(nominal / own))
        return own * octave if abs(own * octave / nominal - 1) <= SNAP else nominal

    def too_coarse(self, what: str, mpp: float) -> MagnificationError:
        """The error for a slide whose resolution is coarser than the ``mpp`` µm/px that ``what`` needs."""
        own = sum(self.resolution()) / 2
        return MagnificationError(
            f"{self.name} was scanned at {mpp_text(self.resolution())} (about {magnification_of(own):.3g}x); "
            f"{what} needs {mpp:.3g} µm/px or finer"
        )

    def pyramid(self) -> list[da.Array]:
        """Lazy levels for a viewer, (height, width, 3) uint8, finest first."""
        from napari_zoommil.slides.pyramid import build_pyramid  # dask takes a while to import

        return build_pyramid(self)

    def read_level(self, level: int, y: int, x: int, height: int, width: int) -> RGB:
        """Pixels of a stored level, all in px of that level; background outside the slide."""
        return self._window(level, 1, y, x, height, width)

    def _window(self, level: int, shrink: int, y: int, x: int, height: int, width: int) -> RGB:
        """As :meth:`read_level`, all in px that are ``shrink`` times as large as those of ``level``."""
        return read_padded(
            lambda y, x, height, width: self._shown.read(level, y, x, height, width, shrink),
            shrunken(self.levels[level].shape, shrink),
            y,
            x,
            height,
            width,
            self.background,
        )

    def read(self, y: float, x: float, height: int, width: int, mpp: float | Pair) -> RGB:
        """Pixels at any resolution.

        Parameters
        ----------
        y, x : float
            Top-left corner, level-0 px; may lie outside the slide.
        height, width : int
            Size of the result, px.
        mpp : float or (float, float)
            Resolution of the result, µm/px.

        Returns
        -------
        (height, width, 3) uint8

        Raises
        ------
        MissingResolutionError
            If the slide's resolution is unknown.
        """
        wanted, own = as_pair(mpp), self.resolution()
        assert wanted is not None
        return self.read_downsampled(y, x, height, width, (wanted[0] / own[0], wanted[1] / own[1]))

    def read_downsampled(self, y: float, x: float, height: int, width: int, downsample: Pair) -> RGB:
        """As :meth:`read`, with the resolution given as level-0 px per result px (y, x)."""
        index = choose_level(self.levels, downsample)
        factor, shape = self.levels[index].downsample, (height, width)
        origin = y / factor[0], x / factor[1]
        scale = downsample[0] / factor[0], downsample[1] / factor[1]
        shrink = choose_shrink(self._reader.shrinks, origin, scale, shape)
        return read_scaled(
            lambda *window: self._window(index, shrink, *window),
            (origin[0] / shrink, origin[1] / shrink),
            (scale[0] / shrink, scale[1] / shrink),
            shape,
        )
