"""What every MIL model shares: a pass that says what it needs, and what it returns.

The pass is a coroutine: ``features = yield Need(level, rows)``. Training answers from a store,
prediction by encoding batch by batch with progress, cancel and a live overlay in between, and
``forward(bag)`` drains it. One definition serves all three.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from napari_zoommil.bags.bag import Bag
from napari_zoommil.bags.need import Need, NeedImage, answer
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Pair, PatchGrid, Rows, magnification_name, zoom_ratios
from napari_zoommil.models.task import Classification, Task

__all__ = ["MILModel", "MILOutput", "Need", "NeedImage", "Pass", "Plane", "Step", "drain"]


@dataclass(frozen=True, eq=False)
class Step:
    """What a model saw at one magnification.

    Attributes
    ----------
    level : int
    rows : (n,) int64
        Patches looked at.
    scores : (n, H) Tensor
        Raw scores of the patches, a column for each of the model's ``heads``, or for the first of them
        where a step has not all. Of an attention, the logits before the softmax.
    embeddings : (n, F) Tensor, optional
        Instance embeddings, on the graph where gradients are on: Grad-CAM's activations.
    zoomed : (k,) int64
        Rows that were zoomed into.
    evidence : (n, C) Tensor, optional
        What each patch adds to each output, of a model whose outputs are sums over patches: over all steps
        it sums to ``MILOutput.logits`` less the bias. See
        :func:`napari_zoommil.models.blocks.attention.evidence`.
    """

    level: int
    rows: Rows
    scores: Tensor
    embeddings: Tensor | None = None
    zoomed: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    evidence: Tensor | None = None

    def __post_init__(self) -> None:
        if self.scores.ndim != 2:
            raise ModelError(f"scores of patches have a column for each head, not {tuple(self.scores.shape)}")

    @property
    def attention(self) -> Tensor:
        """(n,) scores of the first head."""
        return self.scores[:, 0]


@dataclass(frozen=True, eq=False)
class Plane:
    """Activations of a model that looks at an image, not at patches one by one.

    Attributes
    ----------
    activation : (F, h, w) Tensor
        On the graph where gradients are on.
    origin, downsample : (float, float)
        Level-0 y and x of its top-left corner, and level-0 px per value.
    magnification : float
        Of what it was computed from.
    """

    activation: Tensor
    origin: Pair
    downsample: Pair
    magnification: float


@dataclass(frozen=True, eq=False)
class MILOutput:
    """A prediction.

    Attributes
    ----------
    logits : (C,) Tensor
        Outputs before the link of the model's task.
    steps : tuple of Step
        From the lowest magnification on; none of a model that does not score patches. In training, where
        the patches of a step may be mixtures, only the first step's rows stand for single patches.
    planes : tuple of Plane
    """

    logits: Tensor
    steps: tuple[Step, ...] = ()
    planes: tuple[Plane, ...] = ()


Pass = Generator[Need | NeedImage, Tensor, MILOutput]


def drain(steps: Pass, answer: Callable[[Any], Tensor]) -> MILOutput:
    """Drive a pass to its end with ``answer(need)`` for what it asks."""
    try:
        need = next(steps)
        while True:
            need = steps.send(answer(need))
    except StopIteration as stop:
        return stop.value


class MILModel(nn.Module):
    """Base of the models: a coroutine over a patch grid.

    Parameters
    ----------
    in_features : int
        Width of the features it is given.
    classes : int
        Its outputs.
    magnifications : sequence of float
        Rising by whole factors.
    options : dataclass instance
        Of the type that the model's registry entry names.

    Attributes
    ----------
    name : str
        Under which the registry knows it.
    heads : tuple of str
        Names of the columns of ``Step.scores``: ``"attention"``, another word, or a class that a column
        speaks for. The first is shown by default.
    task : Task
        What its outputs mean; unnamed classes until it is loaded or trained.
    ratios : tuple of int
        Between each magnification and the one before it.
    patch_size : int or None
        px of the patches it is made for; None, and so any, until it is loaded or trained.
    encoder_hash : str
        Of the encoder it is made for; empty until it is loaded or trained, and where it has none.

    Raises
    ------
    MagnificationError
        If the magnifications do not rise by whole factors.
    """

    name: str = ""
    heads: tuple[str, ...] = ("attention",)
    task: Task
    patch_size: int | None = None
    encoder_hash: str = ""

    def __init__(self, in_features: int, classes: int, magnifications: Sequence[float], options: Any) -> None:
        super().__init__()
        self.in_features, self.classes, self.options = in_features, classes, options
        self.magnifications = tuple(float(one) for one in magnifications)
        self.ratios = zoom_ratios(self.magnifications)
        self.task = Classification.unnamed(classes)

    @abstractmethod
    def steps(self, grid: PatchGrid) -> Pass:
        """The pass over one slide."""

    def losses(self, output: MILOutput, target: Tensor, progress: float) -> dict[str, Tensor]:
        """What training makes small, by name; their sum is, weighted by the recipe.

        Parameters
        ----------
        output : MILOutput
            Of a bag.
        target : () Tensor
            Index of the bag's class, or its value.
        progress : float
            How far training is, 0 to 1.
        """
        return {"bag": self.task.loss(output.logits, target)}

    def config(self) -> dict[str, Any]:
        """Arguments of :func:`napari_zoommil.models.create` that make the same architecture again."""
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.options).items()}
        return {
            "in_features": self.in_features,
            "classes": self.classes,
            "magnifications": list(self.magnifications),
            **options,
        }

    def patches_needed(self, counts: tuple[int, ...], ratios: tuple[int, ...]) -> tuple[int, ...]:
        """Patches a pass asks for at each magnification, given how many the slide holds there; all of them
        unless a model says otherwise."""
        return counts

    def attention_logits(self, level: int, features: Tensor) -> Tensor:
        """What the attention makes of single patches, whether or not a pass would look at them.

        Parameters
        ----------
        level : int
            Index into the magnifications.
        features : (n, D)

        Returns
        -------
        (n, H)
            Raw logits, a column for each attention at this magnification. The first is the one that pools.

        Raises
        ------
        ModelError
            If the model has no attention over patches.
        """
        raise ModelError(
            f"{self.name} has no attention over patches that points could teach; choose a model that has, "
            "such as zoommil"
        )

    def forward(self, bag: Bag) -> MILOutput:
        """Predict from a bag whose features can be had at once."""
        self.check(bag)
        device = next(self.parameters()).device
        return drain(self.steps(bag.grid), lambda need: self.fitting(answer(bag, need), need).to(device))

    def check(self, bag: Bag) -> None:
        """Refuse patches of other magnifications or another size, and features of another encoder.

        The width of features is looked at where they are answered, see :meth:`fitting`.

        Raises
        ------
        ModelError
        """
        grid = bag.grid
        if grid.magnifications != self.magnifications:
            made, given = (
                ", ".join(map(magnification_name, m)) for m in (self.magnifications, grid.magnifications)
            )
            raise ModelError(f"this model looks at {made}, but the patches are at {given}")
        if self.patch_size not in (None, grid.patch_size):
            raise ModelError(
                f"this model looks at patches of {self.patch_size} px, but these have {grid.patch_size} px"
            )
        if self.encoder_hash and bag.encoder_hash and bag.encoder_hash != self.encoder_hash:
            raise ModelError(
                f"this model takes features of the encoder {self.encoder_hash}, but these are those of "
                f"{bag.encoder_hash}; embed the slide with the model's own"
            )

    def fitting(self, answered: Tensor, need: Need | NeedImage) -> Tensor:
        """The answer to a need, unless its features are of another width.

        Raises
        ------
        ModelError
        """
        features = isinstance(need, Need) and need.what == "features"
        if features and answered.shape[1] != self.in_features:
            raise ModelError(
                f"this model takes {self.in_features} features of a patch, but was given "
                f"{answered.shape[1]}: they are another encoder's"
            )
        return answered

    def progress(self, share: float) -> None:
        """Told how far training is, 0 to 1, before each step; models with a schedule listen."""
