"""What every MIL model shares: a pass that says which features it needs, and what it returns.

The pass is a coroutine: ``features = yield Need(level, rows)``. Training answers from a store,
prediction by encoding batch by batch with progress, cancel and a live overlay in between, and
``forward(bag)`` drains it. One definition serves all three.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from napari_zoommil.bags.bag import Bag
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import PatchGrid, Rows, magnification_name


@dataclass(frozen=True, eq=False)
class Need:
    """Features a pass asks for.

    Attributes
    ----------
    level : int
        Index into the grid's magnifications.
    rows : (n,) int64
    preview : callable, optional
        (b, D) features → (b,) raw attention logits, for painting while the rest is still encoded;
        equal to what the finished step will hold.
    """

    level: int
    rows: Rows
    preview: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """What a model saw at one magnification.

    Attributes
    ----------
    level : int
    rows : (n,) int64
        Patches looked at.
    attention : (n,) Tensor
        Raw attention logits, before the softmax.
    embeddings : (n, F) Tensor
        Instance embeddings, still on the graph where gradients are on: Grad-CAM's activations.
    zoomed : (k,) int64
        Rows that were zoomed into; empty at the last magnification.
    """

    level: int
    rows: Rows
    attention: Tensor
    embeddings: Tensor
    zoomed: Rows


@dataclass(frozen=True, eq=False)
class MILOutput:
    """A prediction.

    Attributes
    ----------
    logits : (C,) Tensor
    steps : tuple of Step
        From the lowest magnification on. In training, where the patches of a step are mixtures,
        only the first step's rows stand for single patches.
    """

    logits: Tensor
    steps: tuple[Step, ...]

    @property
    def probabilities(self) -> Tensor:
        """(C,) softmax of the logits."""
        return self.logits.softmax(0)


Pass = Generator[Need, Tensor, MILOutput]


def drain(steps: Pass, answer: Callable[[Need], Tensor]) -> MILOutput:
    """Drive a pass to its end with ``answer(need)`` for features."""
    try:
        need = next(steps)
        while True:
            need = steps.send(answer(need))
    except StopIteration as stop:
        return stop.value


class MILModel(nn.Module):
    """Base of the models: a coroutine over a patch grid.

    Attributes
    ----------
    magnifications : tuple of float
    classes : int
    in_features : int
    """

    name: ClassVar[str]
    magnifications: tuple[float, ...]
    classes: int
    in_features: int

    @abstractmethod
    def steps(self, grid: PatchGrid) -> Pass:
        """The pass over one slide."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments that make the same architecture again."""

    @abstractmethod
    def patches_needed(self, counts: tuple[int, ...], ratios: tuple[int, ...]) -> tuple[int, ...]:
        """Patches a pass encodes at each magnification, given how many the slide holds there."""

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
        self.check(bag.grid)
        device = next(self.parameters()).device
        return drain(self.steps(bag.grid), lambda need: bag.features(need.level, need.rows).to(device))

    def check(self, grid: PatchGrid) -> None:
        """Refuse a grid of other magnifications.

        Raises
        ------
        ModelError
        """
        if grid.magnifications != self.magnifications:
            made, given = (
                ", ".join(map(magnification_name, m)) for m in (self.magnifications, grid.magnifications)
            )
            raise ModelError(f"this model looks at {made}, but the patches are at {given}")

    def progress(self, share: float) -> None:
        """Told how far training is, 0 to 1, before each step; models with a schedule listen."""
