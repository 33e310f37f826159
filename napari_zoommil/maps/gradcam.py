"""Grad-CAM of a MIL prediction: which patches speak for or against an output.

For patch i with embedding e_i the score is Σ_d e_id · ∂ logit_c / ∂ e_id (gradient × activation on the
patch's embedding). Of a plane of activations A_f it is Σ_f w_f A_f, where w_f is the mean over the plane of
∂ logit_c / ∂ A_f (Selvaraju 2017, without the ReLU).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.patch_scores import PatchScores
from napari_zoommil.maps.recorded import Found, RecordedPass, Replay
from napari_zoommil.models.mil import MILOutput, Step

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
    there = [(step, e) for one in passes for step in one.steps if (e := step.embeddings) is not None]
    activations = [e for _, e in there] + [plane.activation for plane in output.planes]
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
    """Grad-CAM for each output."""
    replay, names = Replay(recorded), recorded.names
    output, cams = replay.output(*replay.inputs), []
    for index, name in enumerate(names):
        yield index, len(names), name
        cams.append(grad_cam(output, index))
    patches = [
        PatchScores(step.level, step.rows, np.stack(scores))
        for step, *scores in zip(output.steps, *(cam.steps for cam in cams), strict=True)
        if scores[0] is not None
    ]
    planes = [
        HeatMap(values, one.origin, one.downsample, recorded.mpp, one.magnification, "grad-cam", name)
        for name, cam in zip(names, cams, strict=True)
        for one, values in zip(output.planes, cam.planes, strict=True)
    ]
    return recorded.found("grad-cam", tuple(patches), tuple(planes))


def _array(values: Tensor) -> Scores:
    return values.detach().cpu().numpy()
