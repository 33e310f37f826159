"""Grad-CAM of the CNN against the tilted rectangle, beside maps that know nothing, or the answer.

The paper denoises its maps by "a simple general-purpose post-processing routine" that it does not describe;
here it is that of :mod:`napari_zoommil.maps.localisation`, tuned for each kind of map on validation images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.experiments.data.rectangles import EDGE, RectangleImage
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.localisation import Localisation, localise, mean_jaccard, pointing_game, tune
from napari_zoommil.models.blocks.nic_cnn import NICNet

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]

LAYER = 0
"""The first convolution, k = 1."""

KINDS = ("grad-cam", "random", "all digits", "true class")
"""Random and all digits are controls; the density of the digits of the true class is a ceiling, which needs
the label."""


def grad_cam(network: NICNet, arrays: Tensor, classes: Tensor) -> NDArray[np.float32]:
    """Maps of one class per image, (B, C, h, w), (B,) → (B, h, w), at the resolution of the input."""
    network.eval()
    layers = network.layers(arrays)
    chosen = network.answer(layers[-1]).gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, layers[LAYER])
    maps = (layers[LAYER] * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    full = _resampled(maps, network.cells[LAYER], arrays.shape[2:])
    return full[:, 0].detach().cpu().numpy()


def _resampled(maps: Tensor, cells: tuple[float, float], shape: Sequence[int]) -> Tensor:
    """Maps at the middles of the cells of the input, bilinear between the middles of their own cells.

    Parameters
    ----------
    maps : (B, 1, h, w) Tensor
    cells : (float, float)
        Where their first cell begins and how large their cells are, in cells of the input.
    shape : (int, int)
        Height and width of the input.
    """
    begin, size = cells
    # From -1, where the first cell begins, to 1, where the last one ends.
    y, x = (
        2 * (torch.arange(edge, device=maps.device) + 0.5 - begin) / (size * count) - 1
        for edge, count in zip(shape, maps.shape[2:], strict=True)
    )
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
    places = places.to(maps.dtype).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, places, padding_mode="border", align_corners=False)


@dataclass(frozen=True, eq=False)
class Explained:
    """An image with the maps of :data:`KINDS`.

    Attributes
    ----------
    maps : dict of str to (h, w) float
    truth : (h, w) bool
        Cells of the tilted rectangle.
    right : bool
        Whether the prediction is right.
    """

    maps: dict[str, Map]
    truth: Mask
    right: bool


def explained(
    images: Iterator[RectangleImage], cams: Iterator[Map], right: Iterator[bool], stride: int, seed: int
) -> list[Explained]:
    """Images whose rectangle holds the centre of at least one patch."""
    rng, found = np.random.default_rng((seed, 29)), []
    for image, cam, answer in zip(images, cams, right, strict=True):
        truth = image.mask(stride)
        maps = {
            "grad-cam": cam,
            "random": rng.random(truth.shape),
            "all digits": image.density(stride=stride),
            "true class": image.density(image.label, stride=stride),
        }
        if truth.any():
            found.append(Explained(maps, truth, bool(answer)))
    return found


def agreement(validation: Sequence[Explained], test: Sequence[Explained]) -> dict[str, dict[str, Any]]:
    """Jaccard index and pointing game of each kind of map on test images.

    Returns
    -------
    dict
        Kind → ``jaccard`` of all images, ``right`` and ``wrong`` for those of right and wrong predictions
        (None without any), ``pointing`` (share of the images whose highest value lies in the rectangle),
        ``denoising``.
    """
    told = {}
    for kind in KINDS:
        how, _ = tune([_heat(one, kind) for one in validation], [one.truth for one in validation])
        found = [localise(_heat(one, kind), one.truth, how) for one in test]
        told[kind] = {
            "jaccard": _mean(found),
            "right": _mean([own for own, one in zip(found, test, strict=True) if one.right]),
            "wrong": _mean([own for own, one in zip(found, test, strict=True) if not one.right]),
            "pointing": pointing_game(found) if found else None,
            "denoising": asdict(how),
        }
    return told


def _heat(one: Explained, kind: str) -> HeatMap:
    values = np.asarray(one.maps[kind], np.float32)
    return HeatMap(values, (0.0, 0.0), (float(EDGE),) * 2, None, 1.0, kind, None)


def _mean(found: Sequence[Localisation]) -> float | None:
    return mean_jaccard(found) if found else None
