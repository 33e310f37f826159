"""Grad-CAM of a MIL prediction: which patches speak for or against an output.

For patch i with embedding e_i the score is Σ_d e_id · ∂ logit_c / ∂ e_id (gradient × activation on the
patch's embedding). Of a plane of activations A_f it is Σ_f w_f A_f, where w_f is the mean over the plane of
∂ logit_c / ∂ A_f (Selvaraju 2017; without the ReLU unless it is asked for).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.errors import ModelError
from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.maps.recorded import Found, RecordedPass, Replay
from napari_zoommil.models.mil import MILOutput, Plane

Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GradCAM:
    """Grad-CAM for one output.

    Attributes
    ----------
    steps : tuple of (n,) float32 or None
        In the order of ``output.steps``; None where a step has no embeddings.
    planes : tuple of (h, w) float32
        In the order of ``output.planes``.
    """

    steps: tuple[Scores | None, ...]
    planes: tuple[Scores, ...]


def grad_cam(output: MILOutput, target: int) -> GradCAM:
    """Scores for one output.

    Parameters
    ----------
    output : MILOutput
        Of a pass made with gradients on. Its graph is kept.
    target : int
        Index of the output.
    """
    seen = [step.embeddings for step in output.steps if step.embeddings is not None]
    activations = seen + [plane.activation for plane in output.planes]
    if not activations:
        return GradCAM((None,) * len(output.steps), ())
    found = torch.autograd.grad(
        output.logits[target], activations, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    gradients = iter(found)
    steps = tuple(
        None if step.embeddings is None else _array(torch.linalg.vecdot(next(gradients), step.embeddings))
        for step in output.steps
    )
    planes = tuple(
        _array(torch.tensordot(next(gradients).mean((1, 2)), plane.activation, 1)) for plane in output.planes
    )
    return GradCAM(steps, planes)


def run(recorded: RecordedPass) -> Generator[tuple[int, int, str], None, Found]:
    """Grad-CAM for each output: of the embeddings of patches, and of the planes of one layer.

    Raises
    ------
    ModelError
        If the model has no such layer.
    """
    replay, names = Replay(recorded), recorded.names
    output, cams = replay.output(*replay.inputs), []
    layer = _layer(recorded, output.planes)
    for index, name in enumerate(names):
        yield index, len(names), name
        cams.append(grad_cam(output, index))
    positive = recorded.options.relu
    patches = [
        PatchScores(step.level, step.rows, _kept(np.stack(scores), positive))
        for step, *scores in zip(output.steps, *(cam.steps for cam in cams), strict=True)
        if step.embeddings is not None
    ]
    planes = [
        HeatMap(
            _kept(values, positive),
            one.origin,
            one.downsample,
            recorded.mpp,
            one.magnification,
            "grad-cam",
            name,
        )
        for name, cam in zip(names, cams, strict=True)
        for one, values in summed(output.planes, cam.planes)
        if one.layer == layer
    ]
    return recorded.found("grad-cam", tuple(patches), tuple(planes))


def summed(planes: Sequence[Plane], values: Sequence[Scores]) -> list[tuple[Plane, Scores]]:
    """Planes with their values, summed where they are of one layer: those of the members of an ensemble."""
    found: dict[object, tuple[Plane, Scores]] = {}
    for plane, own in zip(planes, values, strict=True):
        key = plane.layer, plane.origin, plane.downsample, own.shape
        first, total = found.get(key, (plane, np.zeros_like(own)))
        found[key] = first, total + own
    return list(found.values())


def _layer(recorded: RecordedPass, planes: tuple[Plane, ...]) -> str:
    """The layer that was asked for, else the model's own."""
    asked, model = recorded.options.layer, recorded.model
    there = tuple(dict.fromkeys(plane.layer for plane in planes))
    if asked is not None and asked not in there:
        has = f"it has {', '.join(there)}" if any(there) else "it has none with a name; leave the layer out"
        raise ModelError(f"{model.name} has no layer {asked!r}: {has}")
    default = model.explained_layer if model.explained_layer in there else (there or ("",))[-1]
    return default if asked is None else asked


def _kept(values: Scores, positive: bool) -> Scores:
    return np.maximum(values, 0) if positive else values


def _array(values: Tensor) -> Scores:
    return values.detach().cpu().numpy()
