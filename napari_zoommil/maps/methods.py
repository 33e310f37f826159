"""Methods of explanation: one entry each, which window, command and Python read. No torch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from napari_zoommil.models.task import LOGIT

MethodName = Literal[
    "attention",
    "evidence",
    "leave-one-out",
    "grad-cam",
    "saliency",
    "occlusion",
    "occlusion-glass",
    "local-evidence",
    "familiarity",
]

Needs = Literal["output", "gradients", "passes", "pixels"]
"""What a method takes: what the model says anyway, gradients of one more pass, a pass for each patch, or the
pixels of what was read and the statistics of the training."""

Average = Literal["softmax", "mean"] | None

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
    what : str
        What its values are.
    caution : str
        What they do not say.
    found : str
        How far they agreed with what happens when patches are left out, on the sample model (medians of 12
        slides; ``tests/benchmarks/faithfulness.py``, ``resources/docs/explanations.md``).
    unit : str
        Of its values; ``{output}`` stands for that of the model's output; see :func:`unit_of`.
    signed : bool
        Whether zero is the neutral value.
    per_output : bool
        Whether it explains each output of the model by itself.
    needs : {"output", "gradients", "passes", "pixels"}
    average : {"softmax", "mean", None}
        How its values become *times the average*: an attention's logits are exponents, a size is divided by
        its mean; None where no average is meant.
    function : str
        ``package.module:function``, a :data:`Run`; empty where the values are part of each prediction.
    inside : str
        The same of the function that looks inside one patch; empty where the method cannot.
    """

    name: MethodName
    title: str
    what: str
    caution: str
    found: str
    unit: str
    signed: bool = True
    per_output: bool = True
    needs: Needs = "gradients"
    average: Average = None
    function: str = ""
    inside: str = ""

    @property
    def computed(self) -> bool:
        """Whether it takes more than a prediction."""
        return self.needs != "output"

    @property
    def help(self) -> str:
        """What its values are, and how far to trust them."""
        return " ".join(part for part in (self.what, self.caution, self.found) if part)

    def load(self, inside: bool = False) -> Run:
        """What computes it, of the slide or inside one patch."""
        module, _, name = (self.inside if inside else self.function).partition(":")
        run: Run = getattr(import_module(module), name)
        return run


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "attention",
            "Attention",
            "The model's own scores of patches: what it gathers its answer from, and where it zooms.",
            "It tells where the model looks, not what for.",
            "With the sample model, the more a patch was attended, the more the output rose without it (rank "
            "correlation with the fall at 5x, 10x, 20x: −0.12, −0.45, −0.69).",
            "attention logit",
            signed=False,
            per_output=False,
            needs="output",
            average="softmax",
        ),
        Method(
            "evidence",
            "Evidence",
            "What each patch adds to the output: with attention, its share of it times what the classifier "
            "makes of the patch. All patches together sum to the output less its bias, exactly.",
            "Positive does not mean that the output falls without the patch: the others take over its "
            "attention.",
            "With the sample model, signs agreed with occlusion for 39, 46 and 37 % (5x, 10x, 20x).",
            "{output}",
            needs="output",
        ),
        Method(
            "leave-one-out",
            "Leave-one-out",
            "How much the output falls when a patch alone is left out and the others share its attention, "
            "computed from the evidence.",
            "Exact where nothing is zoomed into.",
            "With the sample model, signs agreed with occlusion for 80, 89 and 100 % (5x, 10x, 20x), rank "
            "correlation 0.61, 0.84 and 1.00.",
            "{output}",
            needs="output",
        ),
        Method(
            "grad-cam",
            "Grad-CAM",
            "Gradient × activation of each patch's embedding; of an image or inside a patch, the activations "
            "of a layer, each channel weighted by its mean gradient.",
            "Positive does not mean that the output falls without the patch.",
            "With the sample model, signs agreed with occlusion for 38, 69 and 59 % (5x, 10x, 20x), rank "
            "correlation −0.20, 0.38 and −0.05.",
            "{output}",
            function="napari_zoommil.maps.gradcam:run",
            inside="napari_zoommil.maps.inside_patch:grad_cam",
        ),
        Method(
            "saliency",
            "Saliency",
            "How much the output changes with the features of a patch, or with a pixel, in either direction: "
            "the size of the gradient.",
            "It does not tell for from against.",
            "With the sample model, rank correlation with occlusion was −0.10, −0.49 and −0.73 (5x, 10x, "
            "20x).",
            "{output} per feature",
            signed=False,
            average="mean",
            function="napari_zoommil.maps.saliency:run",
            inside="napari_zoommil.maps.inside_patch:saliency",
        ),
        Method(
            "occlusion",
            "Occlusion",
            "How much the output falls when a patch, with all patches inside it, is left out, or when a box "
            "of an image is covered with background. One pass for each.",
            "Two patches that say the same hide each other: without either, nothing changes.",
            "The other methods are compared with this one.",
            "{output}",
            needs="passes",
            function="napari_zoommil.maps.occlusion:left_out",
            inside="napari_zoommil.maps.inside_patch:occlusion",
        ),
        Method(
            "occlusion-glass",
            "Occlusion by glass",
            "How much the output falls when a patch, with all patches inside it, is replaced by the slide's "
            "background. One pass for each patch.",
            "",
            "With the sample model, it agreed with occlusion: signs for 98 % or more, rank correlation 1.00.",
            "{output}",
            needs="passes",
            function="napari_zoommil.maps.occlusion:as_glass",
        ),
        Method(
            "local-evidence",
            "Local evidence",
            "What each place of the image adds to the output, of models that answer for each place alone and "
            "pool the answers.",
            "A place answers for all that its receptive field covers.",
            "",
            "{output}",
            needs="output",
        ),
        Method(
            "familiarity",
            "Familiarity",
            "How far the colour, texture and features of each patch are from those that the model was "
            "trained on: 1 is the distance within which 99 % of them lie; from 1.25 on, a patch counts as "
            "unlike.",
            "A patch that is far is not wrong, but nobody knows what the model makes of it.",
            "",
            "distance",
            signed=False,
            per_output=False,
            needs="pixels",
            function="napari_zoommil.maps.familiarity:run",
        ),
    )
}
"""All methods by name."""

CLOSEST = "leave-one-out"
"""Of the methods that cost nothing, the one that agrees best with leaving patches out."""

FREE = (CLOSEST, "evidence")
"""The methods that cost nothing, best first; not every model has them."""


ZOOM = "zoom"
"""Head of models that zoom: the attention by which they choose where."""


INSTANCE = "instance"
"""Head of models that answer for each patch alone: its output before the link function."""


def average_of(kind: str) -> Average:
    """How values of a kind of map become *times the average*; None for scores of which nothing is known."""
    if _is_attention(kind):
        return "softmax"
    return METHODS[kind].average if kind in METHODS else None


def unit_of(kind: str, output: str = LOGIT) -> str:
    """Of the values of a kind of map.

    Parameters
    ----------
    output : str
        Unit of the model's output, which its task tells.
    """
    if kind in METHODS:
        return METHODS[kind].unit.format(output=output)
    if _is_attention(kind):
        return METHODS["attention"].unit
    return output if kind == INSTANCE else "score of the model"


def is_signed(kind: str) -> bool:
    """Whether zero is the neutral value: values speak for and against an output."""
    return kind == INSTANCE or (kind in METHODS and METHODS[kind].signed)


def is_part_of_attention(kind: str) -> bool:
    """Whether a head is one of several, such as ``attention-3``, that together are the attention."""
    return kind.startswith("attention-")


def _is_attention(kind: str) -> bool:
    """Whether a head is one more attention: ``zoom``, or one of several."""
    return kind == ZOOM or is_part_of_attention(kind)


def title_of(kind: str) -> str:
    """How a kind of map is called in a sentence: a method, or a head of a model's scores."""
    if kind in METHODS:
        title = METHODS[kind].title
        return title if title.startswith("Grad") else title.lower()
    return {ZOOM: "zoom attention", INSTANCE: "instance score"}.get(kind, kind)
