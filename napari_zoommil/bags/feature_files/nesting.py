"""Patches of several magnifications nested by their places alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_zoommil.bags.feature_files.stated import Stated
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.geometry import PatchLevel, Rows, magnification_name

SAME = 1e-3
"""Relative difference below which two lengths are equal."""


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
