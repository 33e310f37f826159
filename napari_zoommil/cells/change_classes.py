"""Transfer of a trained cell model to other classes: the initial weights of its new output layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import create_cell_model, trainable
from napari_zoommil.cells.outputs import output_channels
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.yollo import YOLLO

OFFSETS = 4
"""Number of box offsets per anchor, which precede the scores in a detector's output."""


def with_classes(
    network: UNet | YOLLO, spec: CellSpec, classes: Sequence[CellClass]
) -> tuple[UNet | YOLLO, CellSpec]:
    """A copy of a model for other classes, with the same probability of being a cell at first.

    If the number of classes is the same, classes with a known name keep their output, in any order, and the
    others take the remaining outputs. Otherwise the probability of being a cell is divided equally among
    all classes.
    """
    new = replace(spec, classes=tuple(classes), config=spec.config | {"classes": len(classes)})
    with torch.random.fork_rng(devices=()):  # the new network draws random weights, which are then replaced
        made = trainable(create_cell_model(new), new.architecture)
    state = network.state_dict()
    anchors, kept = (len(network.anchors), OFFSETS) if isinstance(network, YOLLO) else (1, 0)
    old, names = ([one.name for one in several] for several in (spec.classes, classes))
    for name in ("head.weight", "head.bias"):
        values = state[name].unflatten(0, (anchors, -1))
        scores = values[:, kept:]
        if len(names) != len(old):
            scores = _shared(scores, len(names), name.endswith("bias"))
        elif len(names) > 1:
            scores = scores[:, [0, *(1 + row for row in _rows(old, names))]]
        state[name] = torch.cat([values[:, :kept], scores], 1).flatten(0, 1)
    made.load_state_dict(state)
    return made, new


def _rows(old: list[str], names: list[str]) -> list[int]:
    """The old output of each class: that of its name, else the next unused one."""
    left = iter([row for row, name in enumerate(old) if name not in names])
    return [old.index(name) if name in old else next(left) for name in names]


def _shared(scores: Tensor, classes: int, bias: bool) -> Tensor:
    """(A, C, …) weights or biases of the old scores → (A, C', …) of the new ones.

    One output z is a sigmoid; several are a softmax of which the first is background. With z the logit of
    being a cell, logits of 0 for background and z − log K for each of K classes give the same probability.
    For several old classes, z is their mean logit minus the background's, which is exact if they are equal.
    """
    if scores.shape[1] == 1:
        logit, was = scores[:, 0], 1
    else:
        logit, was = scores[:, 1:].mean(1) - scores[:, 0], scores.shape[1] - 1
    shift = math.log(was) - math.log(classes) if bias else 0.0
    one = logit + shift
    new = one[:, None].expand(-1, classes, *one.shape[1:])
    if output_channels(classes) == 1:
        return new
    return torch.cat([torch.zeros_like(new[:, :1]), new], 1)
