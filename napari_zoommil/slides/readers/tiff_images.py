"""The images that are stored in a TIFF: the slide with all its resolutions, and the others.

The slide is the largest image: some programs write the macro image first. Its resolutions may be told by
SubIFDs, by a flag, or by their extents alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tifffile import RESUNIT, TiffFile, TiffPage, TiffPageSeries

from napari_zoommil.geometry import Pair
from napari_zoommil.slides.readers.base import largest_of, plausible
from napari_zoommil.slides.readers.channels import Channel, NotColours, order_of
from napari_zoommil.slides.readers.ome_xml import OMEImage, ome_images
from napari_zoommil.slides.readers.tiff_likeness import Likeness
from napari_zoommil.slides.readers.tiff_segments import RefusedPage, UnreadablePage
from napari_zoommil.slides.units import microns

RESOLUTION_UNITS = {
    RESUNIT.INCH: "inch",
    RESUNIT.CENTIMETER: "cm",
    RESUNIT.MILLIMETER: "mm",
    RESUNIT.MICROMETER: "µm",
}
"""Unit of a TIFF's resolution tags."""

MOST_OTHERS = 16
"""Images besides the slide that are listed."""

OTHER_PIXELS = 1 << 26
"""Largest image besides the slide that is listed, px: it can only be read whole."""

MOST_SUBIFDS = 64
"""Most resolutions that are looked for in one page, and pages in which they are looked for."""

Pages = list[TiffPage]
"""Pages of one resolution: one, or one per channel if channels are stored as separate pages."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """One image of a file.

    Attributes
    ----------
    name : str
    levels : tuple of list of TiffPage
        From the finest to the coarsest.
    mpp : (float, float) or None
        Level-0 pixel size in µm, y and x.
    objective : float or None
    """

    name: str
    levels: tuple[Pages, ...]
    mpp: Pair | None = None
    objective: float | None = None


def images_of(tiff: TiffFile, known: Collection[tuple[int, int]] = ()) -> list[StoredImage]:
    """The images of a file, first the slide; then others that are named, such as label and macro.

    Parameters
    ----------
    tiff : TiffFile
    known : collection of (int, int)
        Extents of the levels that another library finds; those that are flagged as levels are believed.

    Raises
    ------
    UnreadablePage
        If the slide cannot be shown.
    """
    first = tiff.pages.first
    if isinstance(first, TiffPage) and len(first.subifds or ()) > MOST_SUBIFDS:
        raise RefusedPage(f"names {len(first.subifds or ()):,} resolutions, more than any slide has")
    series = list(tiff.series)
    told = _told(tiff, series)
    main = largest_of([_extent(one.keyframe) for one in series])
    slide = _image(tiff, series[main], told[main])
    if not tiff.is_ome:  # which names all its resolutions
        slide = _with_reductions(slide, tiff, series[main].kind, known)
    return [slide, *_others(tiff, series, told, main, slide)]


def _extent(page: Any) -> tuple[int, int]:
    return page.imagelength, page.imagewidth


def _told(tiff: TiffFile, series: Sequence[TiffPageSeries]) -> list[OMEImage]:
    """What OME-XML says of each series; images of which there are no pixels have no series."""
    found = ome_images(tiff.ome_metadata)
    if len(found) == len(series):
        return found
    by_name = {one.name: one for one in reversed(found)}
    return [by_name.get(one.name, OMEImage()) for one in series]


def _image(tiff: TiffFile, series: TiffPageSeries, told: OMEImage) -> StoredImage:
    channels = told.channels or _told_by_program(tiff, series)
    levels = tuple(_channels(level, channels) for level in series.levels)
    page = levels[0][0]
    mpp = told.mpp or _tag_mpp(page) or _imagej_mpp(tiff, page)
    return StoredImage(told.name or series.name, levels, plausible(mpp), told.objective)


def _channels(level: TiffPageSeries, channels: Sequence[Channel]) -> Pages:
    """The pages of one image: the first index of every axis other than the channels."""
    inside = len(level.keyframe.shape)
    axes, shape = level.axes[:-inside], level.shape[:-inside]
    count = shape[axes.index("C")] if "C" in axes else 1
    if "C" in axes and axes.count("C") > 1:
        raise UnreadablePage("names its channels twice")
    step = math.prod(shape[axes.index("C") + 1 :]) if "C" in axes else 0
    order = _order(count, channels) if count > 1 else (0,)
    pages = [level.pages[at * step] for at in order]
    if any(page is None or page.parent is not level.keyframe.parent for page in pages):
        raise UnreadablePage("lacks some of its pages, or has them in other files")
    whole = [page if isinstance(page, TiffPage) else page.aspage() for page in pages]  # type: ignore[union-attr]
    if count == 1 and len(channels) == whole[0].samplesperpixel > 1:
        _in_order(whole[0].samplesperpixel, channels)
    return whole


def _order(count: int, channels: Sequence[Channel]) -> tuple[int, ...]:
    try:
        return order_of(count, channels)
    except NotColours as error:
        raise RefusedPage(str(error)) from error


def _in_order(count: int, channels: Sequence[Channel]) -> None:
    """Check that samples of one page, which a file describes one by one, are colours."""
    if _order(count, channels) != tuple(range(count)):
        raise RefusedPage("stores its colours in an unusual order; save it as RGB")


def _told_by_program(tiff: TiffFile, series: TiffPageSeries) -> tuple[Channel, ...]:
    """Names of channels outside of OME-XML: of ImageJ, and of the scanners of Akoya."""
    if series.kind == "qpi":
        texts = [page.aspage().description for page in series.pages[:8] if page is not None]
        found = [re.search(r"<(Biomarker|Name)>([^<]{1,80})</", text) for text in texts]
        return tuple(Channel(one[2] if one else "", fluorescent=len(texts) > 1) for one in found)
    labels = (tiff.imagej_metadata or {}).get("Labels") or ()
    return tuple(Channel(str(one)) for one in labels) if isinstance(labels, list | tuple) else ()


# Resolutions


def _with_reductions(
    slide: StoredImage, tiff: TiffFile, kind: str, known: Collection[tuple[int, int]]
) -> StoredImage:
    """The slide with all pages of the file that are the same picture at a lower resolution.

    Levels that tifffile finds are kept, other than those that it guesses from extents alone.
    """
    if len(slide.levels[0]) > 1:
        return slide
    full = slide.levels[0][0]
    kept = [level for level in slide.levels[1:] if kind != "generic" or _called_level(level[0], full)]
    levels = {_extent(level[0]): level for level in (slide.levels[0], *kept)}
    likeness = Likeness(full, tiff)
    for page in _candidates(full, tiff):
        extent = _extent(page)
        believed = extent in known and page.is_tiled and _called_level(page, full)
        if extent not in levels and (believed or _reduces(page, full, likeness)):
            levels[extent] = [page]
    ordered = sorted(levels, key=math.prod, reverse=True)
    return StoredImage(slide.name, tuple(levels[one] for one in ordered), slide.mpp, slide.objective)


def _candidates(full: TiffPage, tiff: TiffFile) -> Iterator[TiffPage]:
    """Pages in the SubIFDs of the finest one; then those of the file."""
    yield from _subpages(full)
    for index in range(min(len(tiff.pages), MOST_SUBIFDS)):
        with suppress(Exception):  # a page that cannot be read is no level
            page = tiff.pages[index].aspage()
            if page.index != full.index or page.is_subifd:
                yield page


def _subpages(page: TiffPage) -> Iterator[TiffPage]:
    for index in range(len(page.subifds or ())):
        with suppress(Exception):
            assert page.pages is not None
            yield page.pages[index].aspage()


def _called_level(page: TiffPage, full: TiffPage) -> bool:
    """Whether the file calls a page a lower resolution of another.

    How it is stored tells more than words, but labels in strips beside slides of tiles may have the flag.
    """
    return _flagged(page) and (page.is_tiled == full.is_tiled or not _named(page, full))


def _flagged(page: TiffPage) -> bool:
    return bool(page.is_reduced or page.is_subifd)


def _reduces(page: TiffPage, full: TiffPage, likeness: Likeness) -> bool:
    """Whether a page is another, smaller: in both directions by one factor, to a pixel of its own.

    Levels that are called so may be padded to whole tiles. Extents alone do not tell a square label from a
    level of a square slide; so the pixels of all other pages are compared.
    """
    same = (page.dtype, page.samplesperpixel) == (full.dtype, full.samplesperpixel)
    if not same or page.imagedepth != full.imagedepth or min(_extent(page)) < 1:
        return False
    if _called_level(page, full):
        padded = page.is_tiled and not _named(page, full)
        return _in_proportion(page, full, (page.tilelength, page.tilewidth) if padded else (1, 1))
    if _flagged(page) or (_named(page, full) and not (page.is_tiled and full.is_tiled)):
        return False
    return _in_proportion(page, full, (1, 1)) and _scale_follows(page, full) and likeness(page)


def _in_proportion(page: TiffPage, full: TiffPage, padding: tuple[int, int]) -> bool:
    """Whether one factor leads from one extent to the other; ``padding`` px may be too many."""
    pairs = list(zip(_extent(full), _extent(page), padding, strict=True))
    low = max(extent / (have + 1) for extent, have, _ in pairs)
    high = min(extent / max(have - pad, 0.5) for extent, have, pad in pairs)
    return low < high and all(have < extent for extent, have, _ in pairs)


def _named(page: TiffPage, full: TiffPage) -> bool:
    """Whether a page says, other than the slide does, that it is a label, a macro or an overview image."""
    words = _words(page) - _words(full)
    return not words.isdisjoint(("label", "macro", "overview"))


def _words(page: TiffPage) -> set[str]:
    stated = f"{page.description[:200]} {page.tags.valueof('PageName', '')}".casefold()
    return set(re.findall(r"[^\W_]+", stated))


def _scale_follows(page: TiffPage, full: TiffPage) -> bool:
    """Whether a page that no flag marks has a whole factor, and no other resolution than it gives."""
    factor = round(full.imagelength / page.imagelength)
    own, whole = _tag_mpp(page), _tag_mpp(full)
    if own and whole and own != whole:
        return math.isclose(own[0] / whole[0], factor, rel_tol=0.05)
    pairs = zip(_extent(full), _extent(page), strict=True)
    return all(have in (extent // factor, -(-extent // factor)) for extent, have in pairs)


# The other images


def _others(
    tiff: TiffFile, series: Sequence[TiffPageSeries], told: Sequence[OMEImage], main: int, slide: StoredImage
) -> list[StoredImage]:
    """The images besides the slide, each with a name of its own."""
    levels = {_extent(level[0]) for level in slide.levels}
    found: list[StoredImage] = []
    for at, one in enumerate(series):
        extent = _extent(one.keyframe)
        skipped = at == main or math.prod(extent) > OTHER_PIXELS or (not tiff.is_ome and extent in levels)
        if skipped or len(found) == MOST_OTHERS:
            continue
        with suppress(Exception):  # whatever is wrong with it, the slide can be read
            image = _image(tiff, one, told[at])
            name = image.name.strip().removesuffix(" image") or f"image {at + 1}"
            taken = {other.name for other in found}
            found.append(StoredImage(f"{name} {at + 1}" if name in taken else name, image.levels[:1]))
    return found


# Pixel size


def _tag_mpp(page: TiffPage) -> Pair | None:
    unit = RESOLUTION_UNITS.get(page.tags.valueof("ResolutionUnit", RESUNIT.INCH))
    return _per_unit(page, unit, unit)


def _imagej_mpp(tiff: TiffFile, page: TiffPage) -> Pair | None:
    """Pixel size by ImageJ's metadata, which name the unit of the resolution tags."""
    stated = tiff.imagej_metadata or {}
    return _per_unit(page, stated.get("yunit") or stated.get("unit"), stated.get("unit"))


def _per_unit(page: TiffPage, *units: object) -> Pair | None:
    """µm per px, by the units, y and x, in which the tags count."""
    found = []
    for name, unit in zip(("YResolution", "XResolution"), units, strict=True):
        length, (count, per) = microns(unit), page.tags.valueof(name, (0, 0))
        found.append(length * per / count if length and count and per else None)
    y, x = found
    return (y, x) if y and x else None
