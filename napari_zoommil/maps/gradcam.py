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
from napari_zoommil.models.mil import MILOutput, Plane, Step

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
        Of a pass made with gradients on. Its graph is kept. In an ensemble, whose output is the mean of those
        of its models, a patch has the sum of what it has in each, weighted as the outputs are.
    target : int
        Index of the output.
    """
    passes = output.members or (output,)
    there = [(step, step.embeddings) for one in passes for step in one.steps if step.embeddings is not None]
    activations = [embeddings for _, embeddings in there] + [plane.activation for plane in output.planes]
    if not activations:
        return GradCAM((None,) * len(output.steps), ())
    found = torch.autograd.grad(
        output.logits[target], activations, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    own = [
        (step, _array(torch.linalg.vecdot(gradient, embeddings)))
        for (step, embeddings), gradient in zip(there, found, strict=False)
    ]
    planes = tuple(
        _array(torch.tensordot(gradient.mean((1, 2)), plane.activation, 1))
        for gradient, plane in zip(found[len(there) :], output.planes, strict=True)
    )
    return GradCAM(tuple(_summed(step, own) for step in output.steps), planes)


def _summed(step: Step, own: Sequence[tuple[Step, Scores]]) -> Scores | None:
    """Scores of the patches of a step; in an ensemble, the sum over the models that have read each."""
    parts = [(one.rows, scores) for one, scores in own if one.level == step.level]
    if not parts:
        return None
    total, order = np.zeros(len(step.rows), parts[0][1].dtype), np.argsort(step.rows)
    for rows, scores in parts:
        total[order[np.searchsorted(step.rows[order], rows)]] += scores
    return total


def run(recorded: RecordedPass) -> Generator[tuple[int, int, str], None, Found]:
    """Grad-CAM for each output: of the embeddings of patches, and of the planes of one layer.

    Raises
    ------
    ModelError
        If the model has no such layer.
    """
    output, names, cams = _replayed(recorded), recorded.names, []
    layer = _layer(recorded, output.planes)
    for index, name in enumerate(names):
        yield index, len(names), name
        cams.append(grad_cam(output, index))
    positive = recorded.options.relu
    patches = [
        PatchScores(step.level, step.rows, _kept(np.stack(scores), positive))
        for step, *scores in zip(output.steps, *(cam.steps for cam in cams), strict=True)
        if scores[0] is not None
    ]
    planes = [
        HeatMap(
            _seen(one, _kept(values, positive)),
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


def _replayed(recorded: RecordedPass) -> MILOutput:
    """The pass with gradients; from the pixels of patches on only where the model begins none later."""
    replay = Replay(recorded, of_pixels=False)
    output = replay.output(*replay.inputs)
    if output.logits.requires_grad:
        return output
    replay = Replay(recorded)
    return replay.output(*replay.inputs)


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


def _seen(plane: Plane, values: Scores) -> Scores:
    """NaN at the places below which the model read nothing."""
    return values if plane.seen is None else np.where(plane.seen, values, np.float32(np.nan))


def _array(values: Tensor) -> Scores:
    return values.detach().cpu().numpy()
