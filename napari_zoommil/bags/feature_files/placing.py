"""Patches of a feature file on the slide: their places in level-0 px, nested by geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.layouts import common_step
from napari_zoommil.bags.feature_files.stated import MOST_PX, Stated, require_within
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.geometry import (
    Pair,
    PatchGrid,
    PatchLevel,
    Rows,
    magnification_name,
    magnification_of,
    mpp_of,
    mpp_text,
)
from napari_zoommil.slides import Slide

DEFAULT_PATCH = 256
"""Edge of the patches of ZoomMIL's authors, which their files do not state."""

CONTRADICTION = 1.4
"""Factor between a stated magnification and that of the slide's pixels that scanners do not explain; the next
magnification is a factor of 2 away."""

SAME = 1e-3
"""Relative difference below which two lengths are equal."""


@dataclass(frozen=True)
class Frame:
    """The level-0 coordinates that patches are placed in.

    Attributes
    ----------
    mpp : (float, float) or None
        Level-0 pixel size, µm, y and x: of the slide, or as the user states it.
    patch_size : int or None
        Edge of a patch in its own pixels, where files do not state it.
    name : str
        Of the slide; empty if it is not at hand.
    shape : (int, int) or None
        Level-0 extent of the slide, px, if it is at hand.
    objective : float or None
        Magnification that the slide states as its scanner's.
    """

    mpp: Pair | None = None
    patch_size: int | None = None
    name: str = ""
    shape: tuple[int, int] | None = None
    objective: float | None = None

    @classmethod
    def of(cls, slide: Slide | None, mpp: Pair | None, patch_size: int | None) -> Frame:
        """That of a slide, if it is at hand; else of a slide with pixels of ``mpp`` µm."""
        if slide is None:
            return cls(mpp, patch_size)
        try:
            objective = float(slide.properties.get("aperio.AppMag", ""))
        except ValueError:
            objective = None
        return cls(slide.mpp, patch_size, slide.name, slide.shape, objective)


@dataclass(frozen=True, eq=False)
class Placed:
    """A grid of patches, and where their features are.

    Attributes
    ----------
    grid : PatchGrid
    rows : tuple of (N,) int64
        Rows in the files, at each magnification.
    mpp : (float, float) or None
        Pixel size, µm, of the coordinates.
    """

    grid: PatchGrid
    rows: tuple[Rows, ...]
    mpp: Pair | None

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self.grid.nbytes + sum(rows.nbytes for rows in self.rows)


def magnification_in(stated: Stated, frame: Frame) -> float:
    """Magnification of patches.

    Raises
    ------
    FeatureFileError
        If it is not stated and cannot be computed, or what is stated contradicts the slide.
    """
    mpp = None
    if frame.mpp is not None and stated.unit == "px" and stated.patch_size:
        mpp = sum(np.multiply(stated.size, frame.mpp)) / 2 / stated.patch_size
    if stated.magnification is None:
        if mpp is None:
            raise FeatureFileError(
                f"{stated.path.name} does not state the magnification of its patches, and there is no slide "
                "that tells; give the slide, or its level-0 pixel size with --mpp"
            )
        return magnification_of(mpp)
    if mpp is not None and abs(np.log(mpp / mpp_of(stated.magnification))) > np.log(CONTRADICTION):
        raise FeatureFileError(
            f"{stated.path.name} says that its patches are at {magnification_name(stated.magnification)}, "
            f"but {stated.size[0]:g} px of a slide at {mpp_text(frame.mpp or (0, 0))} are "
            f"{magnification_name(magnification_of(mpp))} as patches of {stated.patch_size} px; give the "
            "right pixel size with --mpp, or extract the features again"
        )
    return stated.magnification


def place(stated: Sequence[Stated], frame: Frame) -> Placed:
    """Place the patches of one slide, from the lowest magnification to the highest.

    A patch belongs to the one below it in magnification that contains its middle; those that belong to none
    are left out. Without the slide and its pixel size, coordinates in µm stay so (a "px" is then 1 µm), and
    those of ZoomMIL are in px of the highest magnification.

    Raises
    ------
    FeatureFileError
        If files contradict the slide or one another, or overlapping patches should be nested.
    """
    scales = [magnification_in(one, frame) for one in stated]
    sizes = {patch_size_of(one, frame) for one in stated}
    if len(sizes) > 1:
        raise FeatureFileError(
            f"{stated[0].path.name}: patches of one slide have edges of "
            f"{' and '.join(map(str, sorted(sizes)))} px; a model reads patches of one size at all "
            "magnifications"
        )
    patch_size = sizes.pop()
    levels, rows, mpp = [], [], frame.mpp
    for one, magnification in zip(stated, scales, strict=True):
        origins, size, mpp = _in_px(one, patch_size, scales[-1], frame)
        order = np.lexsort((origins[:, 1], origins[:, 0]))
        step = _step(one, origins, size)
        own = mpp_of(magnification) if mpp is None else float(np.multiply(size, mpp).mean() / patch_size)
        parent, tissue = np.full(len(order), -1, np.int64), np.ones(len(order), np.float32)
        levels.append(PatchLevel(magnification, own, size, step, origins[order], parent, tissue))
        rows.append(order)
    shape = _shape(stated, levels, frame)
    for one, level in zip(stated, levels, strict=True):
        _require_on_slide(one, level, shape)
    nested, chosen = nest(levels, stated)
    kept = tuple(own[which] for own, which in zip(rows, chosen, strict=True))
    return Placed(PatchGrid(shape, patch_size, nested), kept, mpp)


def patch_size_of(stated: Stated, frame: Frame) -> int:
    """Edge of patches in their own pixels."""
    return stated.patch_size or frame.patch_size or DEFAULT_PATCH


def _in_px(
    stated: Stated, patch_size: int, finest: float, frame: Frame
) -> tuple[NDArray[np.float64], Pair, Pair | None]:
    """Origins and size in level-0 px, and the size of such a px in µm."""
    if stated.unit == "px":
        return stated.coordinates, stated.size, frame.mpp
    if stated.unit == "µm":
        mpp = frame.mpp or (1.0, 1.0)
        y, x = np.divide(stated.size, mpp).tolist()
        return stated.coordinates / mpp, (y, x), mpp
    assert stated.magnification is not None
    own, scale = _objective(frame), frame.mpp
    if own is None:
        own, scale = finest, (mpp_of(finest), mpp_of(finest))
    edge = patch_size * own / stated.magnification
    return stated.coordinates * edge - _padding(frame, patch_size, own, stated, finest), (edge, edge), scale


def _objective(frame: Frame) -> float | None:
    """Magnification of level 0 as ZoomMIL takes it: what the slide states, else by its pixel size."""
    if frame.objective or frame.mpp is None:
        return frame.objective
    return magnification_of(sum(frame.mpp) / 2)


def _padding(frame: Frame, patch_size: int, own: float, stated: Stated, finest: float) -> NDArray[np.float64]:
    """Level-0 px, y and x, that the slide was padded by at its top and left; 0 without the slide.

    The image at the highest magnification is padded to whole patches of the lowest one.
    """
    if frame.shape is None:
        return np.zeros(2)
    factor = own / finest
    extent = np.floor(np.array(frame.shape) / factor)
    block = patch_size * finest / stated.lowest
    padded = np.ceil(extent / block) * block
    return np.floor((padded - extent) / 2) * factor


def _step(stated: Stated, origins: NDArray[np.float64], size: Pair) -> Pair:
    """Distance between neighbours: as the file states it, or the most frequent one up to the size."""
    if stated.step is not None:
        y, x = np.multiply(stated.step, np.divide(size, stated.size)).tolist()
        return y, x
    found = common_step(origins)
    y, x = np.where(found > 0, np.minimum(found, size), size).tolist()
    return y, x


def _shape(stated: Sequence[Stated], levels: Sequence[PatchLevel], frame: Frame) -> tuple[int, int]:
    """Level-0 extent of the slide; of the patches, if nothing else is known.

    Raises
    ------
    FeatureFileError
        If files state another one than the slide's, or the patches reach further than any slide.
    """
    known = frame.shape
    for one in stated:
        if one.shape is not None and known is not None and one.shape != known:
            raise FeatureFileError(
                f"{one.path.name} was made of a slide of {one.shape[1]:,} × {one.shape[0]:,} px, but "
                f"{frame.name or 'another file'} has {known[1]:,} × {known[0]:,} px; give the features of "
                "this slide"
            )
        known = known or one.shape
    if known is not None:
        return known
    far = np.max([(level.origins + level.size).max(0) for level in levels], 0)
    require_within(stated[0].path, "an extent in px", far.tolist(), 1, MOST_PX)
    height, width = np.ceil(far).astype(int).tolist()
    return height, width


def _require_on_slide(stated: Stated, level: PatchLevel, shape: tuple[int, int]) -> None:
    # ZoomMIL has patches in what the slide was padded with, at most a patch of its lowest magnification.
    around = np.multiply(level.size, level.magnification / stated.lowest if stated.lowest else 0)
    outside = (level.origins - around >= shape).any(1) | (level.origins + level.size + around <= 0).any(1)
    if outside.any():
        y, x = level.origins[outside][0]
        raise FeatureFileError(
            f"{stated.path.name} has {int(outside.sum())} patches outside the slide of {shape[1]:,} × "
            f"{shape[0]:,} px (the first at x {x:g}, y {y:g}); give the features of this slide, or its right "
            "pixel size with --mpp"
        )


def nest(
    levels: Sequence[PatchLevel], stated: Sequence[Stated]
) -> tuple[tuple[PatchLevel, ...], tuple[Rows, ...]]:
    """Give each patch its parent, by geometry; returns the levels and which rows of each they keep.

    Raises
    ------
    FeatureFileError
        If patches of a level with children overlap, or none have a parent.
    """
    nested, kept = [levels[0]], [np.arange(len(levels[0]))]
    for one, level in zip(stated[1:], levels[1:], strict=True):
        above = nested[-1]
        for each in (above, level):
            if (np.array(each.stride) < np.array(each.size) * (1 - SAME)).any():
                raise FeatureFileError(
                    f"{one.path.name}: patches at {magnification_name(each.magnification)} overlap, so that "
                    "one at a higher magnification would lie in several and have no single parent to be "
                    "zoomed into from; extract without overlap for a model of several magnifications"
                )
        point, row = above.covering(level.origins + np.asarray(level.size) / 2)
        first = np.unique(point, return_index=True)[1]
        child, parent = point[first], row[first]
        if not len(child):
            raise FeatureFileError(
                f"{one.path.name}: no patch at {magnification_name(level.magnification)} lies in one at "
                f"{magnification_name(above.magnification)}; give the features of one slide"
            )
        order = np.argsort(parent, kind="stable")  # rows are in raster order already
        nested.append(level.chosen(child[order], parent[order]))
        kept.append(child[order])
    return tuple(nested), tuple(kept)


def at_magnifications(stated: Sequence[Stated], wanted: Sequence[float], frame: Frame) -> tuple[Stated, ...]:
    """The patches of some magnifications among all that there are, from the lowest to the highest.

    Raises
    ------
    FeatureFileError
        If one is missing, or is there several times.
    """
    by_scale: dict[float, list[Stated]] = {}
    for one in stated:
        by_scale.setdefault(magnification_in(one, frame), []).append(one)
    lacking = [one for one in wanted if one not in by_scale]
    if lacking:
        there = ", ".join(map(magnification_name, sorted(by_scale)))
        raise FeatureFileError(
            f"{stated[0].path.name} holds patches at {there}, but features at "
            f"{', '.join(map(magnification_name, lacking))} are needed; give the folder of each "
            "magnification"
        )
    for scale in wanted:
        if len(by_scale[scale]) > 1:
            names = " and ".join("/".join(each.path.parts[-3:]) for each in by_scale[scale])
            raise FeatureFileError(
                f"there are several files of patches at {magnification_name(scale)} ({names}); give the "
                "folder of one of them"
            )
    return tuple(by_scale[scale][0] for scale in wanted)


def of_patch_size(stated: Sequence[Stated], patch_size: int | None) -> tuple[Stated, ...]:
    """The patches whose files state that size, or none; all, if no file does or no size is wanted."""
    fitting = tuple(one for one in stated if one.patch_size in (None, patch_size))
    return tuple(stated) if patch_size is None else fitting or tuple(stated)
