"""Methods of explanation: one entry each, which window, command and Python read. No torch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

MethodName = Literal[
    "attention", "evidence", "leave-one-out", "grad-cam", "saliency", "occlusion", "occlusion-glass"
]

Needs = Literal["output", "gradients", "passes"]
"""What a method takes: what the model says anyway, gradients of one more pass, or a pass for each patch."""

Run = Callable[[Any], Generator[tuple[int, int, str], None, Any]]
"""Computes the scores of a method: takes a :class:`~napari_zoommil.maps.recorded.RecordedPass`, yields how
many of how many parts are done and what of, and returns a :class:`~napari_zoommil.maps.recorded.Found`."""


@dataclass(frozen=True)
class Method:
    """A method of explanation.

    Attributes
    ----------
    name : MethodName
    title : str
        As people read it.
    help : str
        What its values are, and what was found when it was compared with leaving patches out.
    unit : str
        Of its values.
    signed : bool
        Whether zero is the neutral value.
    per_output : bool
        Whether it explains each output of the model by itself.
    needs : {"output", "gradients", "passes"}
    target : str
        ``package.module:function``, a :data:`Run`; empty where the values are part of each prediction.
    """

    name: MethodName
    title: str
    help: str
    unit: str
    signed: bool = True
    per_output: bool = True
    needs: Needs = "gradients"
    target: str = ""

    def load(self) -> Run:
        """What computes it."""
        module, _, name = self.target.partition(":")
        run: Run = getattr(import_module(module), name)
        return run


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "attention",
            "Attention",
            "The model's own scores of patches: what it gathers its answer from, and where it zooms.",
            "attention logit",
            signed=False,
            per_output=False,
            needs="output",
        ),
        Method(
            "evidence",
            "Evidence",
            "What each patch adds to the output: its share of the attention times what the classifier makes "
            "of it. All patches together sum to the output less its bias, exactly.",
            "logit",
            needs="output",
        ),
        Method(
            "leave-one-out",
            "Leave-one-out",
            "How much the output falls when a patch alone is left out and the others share its attention, "
            "computed from the evidence.",
            "logit",
            needs="output",
        ),
        Method(
            "grad-cam",
            "Grad-CAM",
            "Gradient × activation of each patch's embedding.",
            "logit",
            target="napari_zoommil.maps.gradcam:run",
        ),
        Method(
            "saliency",
            "Saliency",
            "How much the output changes with the features of a patch, in either direction: the sum of the "
            "absolute gradient.",
            "logit per feature",
            signed=False,
            target="napari_zoommil.maps.saliency:run",
        ),
        Method(
            "occlusion",
            "Occlusion",
            "How much the output falls when a patch, with all patches inside it, is left out. One pass for "
            "each patch.",
            "logit",
            needs="passes",
            target="napari_zoommil.maps.occlusion:left_out",
        ),
        Method(
            "occlusion-glass",
            "Occlusion by glass",
            "How much the output falls when a patch, with all patches inside it, is replaced by the slide's "
            "background. One pass for each patch.",
            "logit",
            needs="passes",
            target="napari_zoommil.maps.occlusion:as_glass",
        ),
    )
}
"""All methods by name."""


def title_of(kind: str) -> str:
    """How a kind of map is called in a sentence: a method, or a head of a model's scores."""
    if kind in METHODS:
        title = METHODS[kind].title
        return title if title.startswith("Grad") else title.lower()
    return "zoom attention" if kind == "zoom" else kind
