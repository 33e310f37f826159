"""Saliency of a MIL prediction: how much an output changes with the features of a patch (Simonyan 2014)."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from torch import Tensor

from napari_zoommil.bags.need import Need, NeedImage
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Pair
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.maps.recorded import Found, RecordedPass, Replay


def run(recorded: RecordedPass) -> Generator[tuple[int, int, str], None, Found]:
    """Σ_d |∂ logit_c / ∂ x_id| of each patch i with features x_i; over the views of a patch, their sum.

    Of an image that the model reads as a whole, the largest |∂ logit_c / ∂ pixel| of the colours. By option,
    the root mean square over features, or colours, in place of either.

    Raises
    ------
    ModelError
        If the model keeps no gradients of what it reads.
    """
    from captum.attr import Saliency

    replay = Replay(recorded)
    method, names = Saliency(replay), recorded.names
    of_pixels = any(isinstance(need, Need) and need.what == "pixels" for need in recorded.needs)
    slope = []
    for index, name in enumerate(names):
        yield index, len(names), name
        found = method.attribute(replay.inputs, index, abs=True)
        if of_pixels and not any(one.any() for one in found):
            raise ModelError(
                f"{recorded.model.name} keeps no gradients of what it reads; choose grad-cam or occlusion"
            )
        rms = recorded.options.rms
        slope.append([_size(one[0], need, rms) for one, need in zip(found, recorded.needs, strict=True)])
    patches = []
    for level, rows in recorded.asked():
        values = np.zeros((len(names), len(rows)), np.float32)
        for number, need in enumerate(recorded.needs):
            if isinstance(need, Need) and need.level == level:
                values[:, np.searchsorted(rows, need.rows)] += [one[number] for one in slope]
        patches.append(PatchScores(level, rows, values))
    planes = [
        _map_of(need, one[number], recorded.mpp, name)
        for name, one in zip(names, slope, strict=True)
        for number, need in enumerate(recorded.needs)
        if isinstance(need, NeedImage)
    ]
    return recorded.found("saliency", tuple(patches), tuple(planes))


def _size(slope: Tensor, need: Need | NeedImage, rms: bool) -> np.ndarray:
    """(n, …) → (n,) of patches; (3, h, w) → (h, w) of an image."""
    if isinstance(need, NeedImage):
        return size_of(slope, rms)
    each = slope.flatten(1)
    return (each.square().mean(1).sqrt() if rms else each.sum(1)).cpu().numpy()


def size_of(slope: Tensor, rms: bool) -> np.ndarray:
    """(3, h, w) gradient → (h, w): its size over the colours."""
    return (slope.square().mean(0).sqrt() if rms else slope.abs().amax(0)).cpu().numpy()


def _map_of(need: NeedImage, slope: np.ndarray, mpp: Pair | None, name: str) -> HeatMap:
    height, width = slope.shape
    downsample = (need.box.height / height, need.box.width / width)
    return HeatMap(slope, (need.box.y, need.box.x), downsample, mpp, need.magnification, "saliency", name)
