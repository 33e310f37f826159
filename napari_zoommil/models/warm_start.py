"""A model that starts from the weights of another one, with a new head for other classes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from napari_zoommil.errors import ModelError
from napari_zoommil.models.mil import MILModel

Make = Callable[[int], MILModel]
"""Builds the model with a number of outputs."""


def head_modules(make: Make, classes: int) -> tuple[str, ...]:
    """Modules whose weights belong to single classes, found by building the model with one class more.

    A module is one if the shape of its weights depends on the number of classes; so is a list that becomes
    longer.
    """
    with torch.device("meta"):
        fewer, more = (
            {name: tensor.shape for name, tensor in make(count).state_dict().items()}
            for count in (classes, classes + 1)
        )
    longer = {name.rsplit(".", 2)[0] for name in more if name not in fewer}
    reshaped = {name.rsplit(".", 1)[0] for name, shape in fewer.items() if more.get(name) != shape}
    return tuple(sorted(longer | reshaped))


def require_same_shapes(trained: MILModel, asked: MILModel) -> None:
    """Refuse a model whose weights have other names or shapes than those that it is to start from.

    Raises
    ------
    ModelError
    """
    ours, theirs = ({n: w.shape for n, w in one.state_dict().items()} for one in (asked, trained))
    wrong = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    if wrong:
        raise ModelError(
            "options change the shape of weights that the training is to start from "
            f"({', '.join(wrong[:4])}); give only options that do not"
        )


def copy_weights(source: MILModel, target: MILModel, make: Make, same_classes: bool) -> tuple[str, ...]:
    """Copy weights from a trained model; without the head, unless the classes are the same.

    Parameters
    ----------
    source, target : MILModel
        ``target`` is changed.
    make : callable
        Builds a model like ``target`` with a number of outputs.
    same_classes : bool

    Returns
    -------
    tuple of str
        Modules of the head that keep the weights of ``target``.
    """
    new = () if same_classes else head_modules(make, target.classes)
    beginnings = tuple(f"{name}." for name in new)
    theirs = {n: w for n, w in source.state_dict().items() if not n.startswith(beginnings)}
    target.load_state_dict(target.state_dict() | theirs)
    return new
