"""What places patches of feature files on a slide: its frame, and their magnification and size in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_zoommil.bags.feature_files.stated import Stated
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.geometry import Pair, magnification_name, magnification_of, mpp_of, mpp_text
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import DEFAULT_PATCH

CONTRADICTION = 1.4
"""Factor between a stated magnification and that of the slide's pixels that scanners do not explain; the next
magnification is a factor of 2 away."""


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


def patch_size_of(stated: Stated, frame: Frame) -> int:
    """Edge of patches in their own pixels."""
    return stated.patch_size or frame.patch_size or DEFAULT_PATCH


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
