"""Names of weights in the checkpoints of a model's authors, and ours for the same weights. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Weights = dict[str, "Tensor"]


@dataclass(frozen=True)
class Origin:
    """How the authors of a model name its weights.

    Attributes
    ----------
    title : str
        Whose checkpoints these are.
    model : str
        The model in this package.
    names : dict of str to str
        Published name of a module → ours; ``weight`` or ``bias`` follows both. ``{n}`` stands for a number;
        in ours, ``[{n}]`` for row n of one tensor. Of several published names for one of ours, the first is
        told where it is missing.
    config : callable
        Weights under our names → arguments of :func:`napari_zoommil.models.create`, without magnifications.
        Raises KeyError with the name of a missing tensor.
    ignored : tuple of str
        Beginnings of published names that are no weights of the model.
    transforms : dict of str to callable
        For tensors of another layout, by our name.
    scales : callable
        Weights under our names → number of magnifications.
    head : str
        Our name of the module that may be missing, because models are published without it.
    assumed : callable
        Weights under our names → what they do not tell and is assumed, in sentences.
    """

    title: str
    model: str
    names: Mapping[str, str]
    config: Callable[[Weights], dict[str, Any]]
    ignored: tuple[str, ...] = ()
    transforms: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    scales: Callable[[Weights], int] = lambda _: 1
    head: str = ""
    assumed: Callable[[Weights], str] = lambda _: ""

    def ours(self, published: str) -> tuple[str, int | None] | None:
        """Our name of a weight, and its row if it is one of a tensor; None for a name that is not known."""
        for theirs, own in self.names.items():
            if found := re.fullmatch(_pattern(theirs), published):
                *numbers, parameter = found.groups()
                name, row, _ = own.partition("[{n}]")
                name = name.replace("{n}", numbers[0]) if numbers else name
                return name + parameter, int(numbers[0]) if row else None
        return None

    def published(self, ours: str) -> str:
        """The published name of one of our weights; ours, where there is none."""
        for theirs, own in self.names.items():
            if found := re.fullmatch(_pattern(own.replace("[{n}]", "")), ours):
                *numbers, parameter = found.groups()
                return theirs.replace("{n}", numbers[0] if numbers else "N") + parameter
        return ours


def _pattern(template: str) -> str:
    return re.escape(template).replace(r"\{n\}", r"(\d+)") + r"((?:\.weight|\.bias)?)"


def attention_names(published: str, ours: str) -> dict[str, str]:
    """Names of a gated attention as CLAM's authors and many after them have them."""
    return {
        f"{published}.attention_a.0": f"{ours}.value.0",
        f"{published}.attention_b.0": f"{ours}.gate.0",
        f"{published}.attention_c": f"{ours}.score",
    }


def attention_config(weights: Weights, head: str) -> dict[str, Any]:
    """Arguments of a model that embeds, attends and classifies, from the shapes of its weights."""
    hidden, in_features = weights["embed.0.weight"].shape
    return {
        "in_features": in_features,
        "classes": len(weights[head]),
        "hidden": hidden,
        "attention": len(weights["attend.value.0.weight"]),
        "gated": "attend.gate.0.weight" in weights,
    }
