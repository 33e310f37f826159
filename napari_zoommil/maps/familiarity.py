"""How strange each patch that was read is to the model: a map of what its training knew."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np

from napari_zoommil.bags.reading import read_batches
from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import Patches
from napari_zoommil.familiarity.descriptors import describe
from napari_zoommil.maps.heatmap import rasterise
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.maps.recorded import Found, RecordedPass

BATCH = 32
"""Patches between two opportunities to cancel."""


def run(recorded: RecordedPass) -> Generator[tuple[int, int, str], None, Found]:
    """Distances of all patches that were read, as multiples of the limit; NaN for glass.

    Raises
    ------
    ModelError
        If the model's folder keeps no statistics of its training.
    """
    known, bag = recorded.familiarity, recorded.bag
    if known is None:
        raise ModelError(
            "the model folder keeps no statistics of its training, so there is no map of familiarity; "
            "a model that is trained anew keeps them"
        )
    if not hasattr(bag.slide, "read"):
        raise ModelError("familiarity compares pixels, and the slide of these features is not at hand")
    asked = recorded.asked() or tuple((n, np.arange(len(one))) for n, one in enumerate(bag.grid.levels))
    total, done, patches, maps = sum(len(rows) for _, rows in asked), 0, [], []
    for level, rows in asked:
        numbers = [describe([])]
        with closing(read_batches(bag.slide, bag.grid, level, rows, BATCH)) as batches:
            for chunk, pixels in batches:
                yield done, total, f"{done:,} of {total:,} patches"
                numbers.append(describe(pixels))
                done += len(chunk)
        has_features = bag.holds == "features"
        codes = bag.features(level, rows).numpy() if has_features else np.empty((len(rows), 0), np.float32)
        strange = known.levels[level].strangeness(Patches(np.concatenate(numbers), codes, len(rows)))
        patches.append(PatchScores(level, rows, strange[None]))
        maps.append(rasterise(bag.grid, level, rows, strange, recorded.mpp, "familiarity"))
    return Found(tuple(patches), tuple(maps))
