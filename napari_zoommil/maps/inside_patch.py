"""What counts inside one patch, pixel by pixel: the output's gradient goes on through the encoder.

The output depends on a patch by its features f, and ∂ logit_c / ∂ pixel is
Σ_d ∂ logit_c / ∂ f_d · ∂ f_d / ∂ pixel.
The first factor is that of the recorded pass; the second one is taken of the patch alone. Where a model asks
for a patch in several orientations, their maps are turned back and added.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.bags.need import Need
from napari_zoommil.bags.view import ReplacedBag
from napari_zoommil.encoders import Encoder
from napari_zoommil.encoders.turned import turned, turned_back
from napari_zoommil.errors import ModelError
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.occlusion import fall, passed
from napari_zoommil.maps.recorded import Found, RecordedPass, Replay
from napari_zoommil.maps.saliency import size_of

Telling = Generator[tuple[int, int, str], None, Found]
Values = NDArray[np.float32]

LEAST_EDGE = 16
"""Least edge of the map of a layer that is taken without being named: fewer values show no place."""


@dataclass(frozen=True)
class Place:
    """The patch that is explained: its level and its row there."""

    level: int
    row: int


def place_of(recorded: RecordedPass) -> Place:
    """The patch at the place that was asked for, of the highest magnification that the model read there.

    Raises
    ------
    ModelError
        If it read none there, or reads no patches.
    """
    at, asked = recorded.focus.at, recorded.asked()
    assert at is not None
    if not asked:
        raise ModelError(
            f"{recorded.model.name} reads the slide as an image: its maps show each place already; leave the "
            "place out"
        )
    patch = recorded.focus.patch_of(recorded.grid, asked)
    if patch is not None:
        return Place(*patch)
    raise ModelError(
        f"the model has read no patch at y {at[0]:.0f}, x {at[1]:.0f}; choose a place that it read"
    )


def grad_cam(recorded: RecordedPass) -> Telling:
    """Grad-CAM on a layer of the encoder (captum's ``LayerGradCam``).

    Raises
    ------
    ModelError
        If the encoder has no layer whose activations are maps, or not the one that was asked for.
    """
    from captum.attr import LayerGradCam

    place = place_of(recorded)
    encoder = _encoder(recorded)
    slopes, options = list(_slopes(recorded, place)), recorded.options
    total = len(slopes) * len(recorded.names)
    pixels, values = _pixels(recorded, place), None
    for number, (variant, slope) in enumerate(slopes):
        images = _images(encoder, turned(pixels, variant))
        layer = _layer(encoder, images, options.layer)
        for index, name in enumerate(recorded.names):
            yield number * len(recorded.names) + index, total, name
            towards = _Towards(encoder.network, slope[index])
            method = LayerGradCam(towards, layer)
            cam = method.attribute(images, relu_attributions=False)[0, 0].detach().cpu().numpy()
            values = _zeros(recorded, cam) if values is None else values
            values[index] += turned_back(cam, variant)
    assert values is not None
    return _found(recorded, place, "grad-cam", np.maximum(values, 0) if options.relu else values)


def saliency(recorded: RecordedPass) -> Telling:
    """The gradient's size at each pixel of the encoder's input (captum's ``Saliency``).

    Raises
    ------
    ModelError
        If the model keeps no gradients of the pixels that it reads.
    """
    from captum.attr import Saliency

    place = place_of(recorded)
    slopes = list(_slopes(recorded, place))
    pixels, values = _pixels(recorded, place), None
    of_pixels = recorded.bag.holds == "pixels"
    if of_pixels and not any(slope.any() for _, slope in slopes):
        raise ModelError(f"{recorded.model.name} keeps no gradients of what it reads; choose occlusion")
    for number, (variant, slope) in enumerate(slopes):
        images = None if of_pixels else _images(_encoder(recorded), turned(pixels, variant))
        for index, name in enumerate(recorded.names):
            yield number * len(recorded.names) + index, len(slopes) * len(recorded.names), name
            if images is None:
                found = slope[index]
            else:
                towards = _Towards(_encoder(recorded).network, slope[index])
                found = Saliency(towards).attribute(images, abs=False)[0].detach()
            size = size_of(found, recorded.options.rms)
            values = _zeros(recorded, size) if values is None else values
            values[index] += turned_back(size, variant)
    assert values is not None
    return _found(recorded, place, "saliency", values)


def occlusion(recorded: RecordedPass) -> Telling:
    """How much the outputs fall when a box of the patch is covered with background. For any encoder."""
    place, count = place_of(recorded), recorded.options.boxes
    bag, pixels = recorded.bag, _pixels(recorded, place)
    if recorded.options.boxes > recorded.grid.patch_size:
        raise ModelError(f"a patch of {recorded.grid.patch_size} px has no {count} boxes along its edge")
    edges = np.linspace(0, recorded.grid.patch_size, count + 1).round().astype(int)
    covered = np.repeat(pixels, count * count, 0)
    for number, (row, column) in enumerate(np.ndindex(count, count)):
        covered[number, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = bag.slide.background
    rows = tuple(
        np.array([place.row] if level == place.level else [], np.int64)
        for level in range(len(recorded.grid.levels))
    )
    features = {
        variant: _encoded(recorded, turned(covered, variant)) for variant in _variants(recorded, place)
    }
    values = np.zeros((len(recorded.names), count, count), np.float32)
    for number, (row, column) in enumerate(np.ndindex(count, count)):
        yield number, count * count, f"{number:,} of {count * count:,} boxes"
        view = _Covered(bag, rows, {variant: one[number] for variant, one in features.items()})
        output = yield from passed(recorded, view, number, count * count)
        values[:, row, column] = fall(recorded.output, output)
    return _found(recorded, place, "occlusion", values)


class _Covered(ReplacedBag):
    """A bag in which one patch is covered in part, in each orientation that the model asks for."""

    def __init__(self, whole: Any, rows: Any, features: dict[int, Tensor]) -> None:
        super().__init__(whole, rows, features.get(0, next(iter(features.values()))))
        self._by_variant = features

    def variant(self, variant: int) -> ReplacedBag:
        return ReplacedBag(self.whole.variant(variant), self._rows, self._by_variant[variant])


class _Towards(nn.Module):
    """The encoder, as far as an output depends on its features: (B, 3, h, w) → (B,)."""

    def __init__(self, network: nn.Module, slope: Tensor) -> None:
        super().__init__()
        self.network, self.slope = network, slope

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).float() @ self.slope


def _slopes(recorded: RecordedPass, place: Place) -> Iterator[tuple[int, Tensor]]:
    """Orientation, and (C, …) gradient of the outputs, of each view on the patch that the model read."""
    replay = Replay(recorded)
    logits = replay(*replay.inputs)[0]
    by_output = [torch.autograd.grad(one, replay.inputs, retain_graph=True) for one in logits]
    for number, need in enumerate(recorded.needs):
        if isinstance(need, Need) and need.level == place.level:
            for at in np.flatnonzero(need.rows == place.row).tolist():
                yield need.variant, torch.stack([one[number][0, at] for one in by_output])


def _variants(recorded: RecordedPass, place: Place) -> set[int]:
    return {need.variant for need in recorded.needs if isinstance(need, Need) and need.level == place.level}


def _encoder(recorded: RecordedPass) -> Encoder:
    if recorded.bag.holds == "pixels":
        raise ModelError(
            f"{recorded.model.name} has no encoder of patches apart; choose saliency or occlusion"
        )
    encoder: Encoder | None = getattr(recorded.bag, "encoder", None)
    if encoder is None or recorded.bag.slide is None:
        raise ModelError("features in files come without their encoder and the slide: no patch can be opened")
    return encoder


def _pixels(recorded: RecordedPass, place: Place) -> NDArray[np.uint8]:
    """(1, p, p, 3) of the patch."""
    from napari_zoommil.bags.reading import read_batches

    if getattr(recorded.bag, "slide", None) is None:
        raise ModelError("features in files come without the slide: no patch can be opened")
    rows = np.array([place.row])
    return next(read_batches(recorded.bag.slide, recorded.grid, place.level, rows, 1, 1))[1]


def _images(encoder: Encoder, pixels: NDArray[np.uint8]) -> Tensor:
    """(1, 3, h, w), the input of the network, from which gradients are asked."""
    return encoder.preprocessing(torch.as_tensor(pixels).to(encoder.device)).requires_grad_()


def _encoded(recorded: RecordedPass, pixels: NDArray[np.uint8]) -> Tensor:
    """The answers of a bag for patches of these pixels."""
    if recorded.bag.holds == "pixels":
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return torch.from_numpy(_encoder(recorded)(pixels).cpu().numpy())


def _zeros(recorded: RecordedPass, like: Values) -> Values:
    return np.zeros((len(recorded.names), *like.shape), np.float32)


def _found(recorded: RecordedPass, place: Place, kind: str, values: Values) -> Found:
    """Maps of the outputs over the patch; the patch alone is no score of patches."""
    patches = recorded.grid.levels[place.level]
    y, x = patches.origins[place.row].tolist()
    step = patches.size[0] / values.shape[1], patches.size[1] / values.shape[2]
    maps = tuple(
        HeatMap(one, (y, x), step, recorded.mpp, patches.magnification, kind, name)
        for one, name in zip(values, recorded.names, strict=True)
    )
    return Found((), maps)


def spatial_layers(network: nn.Module, images: Tensor) -> dict[str, tuple[nn.Module, int]]:
    """Layers whose activations are square maps, in the order in which they are done: module and edge."""
    found: dict[str, tuple[nn.Module, int]] = {}

    def noted(name: str) -> Any:
        def hook(module: nn.Module, _input: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
                found.pop(name, None)
                found[name] = module, output.shape[2]

        return hook

    hooks = [module.register_forward_hook(noted(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for one in hooks:
            one.remove()
    return found


def _layer(encoder: Encoder, images: Tensor, name: str | None) -> nn.Module:
    """The layer that was asked for, else the last one with a map that is large enough."""
    if isinstance(encoder.network, torch.jit.ScriptModule):
        raise ModelError(
            f"{encoder.name} is a TorchScript file, whose layers cannot be read; choose saliency or occlusion"
        )
    layers = spatial_layers(encoder.network, images)
    large = {own: module for own, (module, edge) in layers.items() if edge >= LEAST_EDGE}
    if name is not None and name not in layers:
        there = ", ".join(layers) or "none"
        raise ModelError(f"the encoder {encoder.name} has no layer {name!r} with a map; it has {there}")
    if name is None and not large:
        raise ModelError(
            f"no layer of the encoder {encoder.name} keeps {LEAST_EDGE} × {LEAST_EDGE} places of a patch, as "
            "with transformers; choose saliency or occlusion"
        )
    return layers[name][0] if name is not None else list(large.values())[-1]
