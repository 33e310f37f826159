"""Base class of MIL models: a pass over a slide that requests features, and its output.

The pass is a coroutine: ``features = yield Need(level, rows)``. In training a feature store answers; in
prediction patches are encoded batch by batch, with progress, cancellation and partial maps;
``forward(bag)`` runs the pass at once. One definition serves all three.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_zoommil.bags.bag import Bag
from napari_zoommil.bags.need import Need, NeedImage, answer, require_image
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import Pair, PatchGrid, Rows, magnification_name, zoom_ratios
from napari_zoommil.models.task import Classification, Task

__all__ = ["MILModel", "MILOutput", "Need", "NeedImage", "Pass", "Plane", "Step", "drain", "instance_heads"]


@dataclass(frozen=True, eq=False)
class Step:
    """The patches and scores of a pass at one magnification.

    Attributes
    ----------
    level : int
    rows : (n,) int64
        Patches that the model read.
    scores : (n, H) Tensor
        Raw scores of the patches, one column per head of the model; a step may have only the first
        heads. For an attention, the logits before the softmax.
    embeddings : (n, F) Tensor, optional
        Instance embeddings, on the graph if gradients are enabled: the activations of Grad-CAM.
    zoomed : (k,) int64
        Patches selected for the next magnification.
    evidence : (n, C) Tensor, optional
        Contribution of each patch to each output, if the outputs of the model are sums over patches: the sum
        over all steps is ``MILOutput.logits`` without the bias. See
        :func:`napari_zoommil.models.blocks.attention.evidence`.
    pooling : tuple of int, optional
        Columns of ``scores`` whose softmax weights the patches of this step in the evidence: one for all
        outputs, or one per output; empty if all weigh the same. None if the weights depend on other patches
        in other ways, so that leaving one out is more than giving its weight to the others.
    rest : (P,) Tensor and (C,) Tensor, optional
        Of the patches of other steps, if the softmax goes over these too: the logarithm of the sum of their
        exponentials, for each column of ``pooling``, and the sum of their evidence.
    """

    level: int
    rows: Rows
    scores: Tensor
    embeddings: Tensor | None = None
    zoomed: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    evidence: Tensor | None = None
    pooling: tuple[int, ...] | None = (0,)
    rest: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.scores.ndim != 2:
            raise ModelError(f"scores of patches need one column per head, not {tuple(self.scores.shape)}")

    @property
    def attention(self) -> Tensor:
        """(n,) scores of the first head."""
        return self.scores[:, 0]


@dataclass(frozen=True, eq=False)
class Plane:
    """Activations of a model that reads an image instead of single patches.

    Attributes
    ----------
    activation : (F, h, w) Tensor
        On the graph if gradients are enabled.
    origin, downsample : (float, float)
        Level-0 (y, x) of its top-left corner, and level-0 px per value.
    magnification : float
        Magnification of the image.
    layer : str
        Name of the layer; a model lists its planes from its input to its output.
    evidence : (C, h, w) Tensor, optional
        What each place adds to each output, in the output's unit: of models that answer for each place alone
        and pool the answers.
    seen : (h, w) bool, optional
        At which places there is something that was read; by default, at all.
    """

    activation: Tensor
    origin: Pair
    downsample: Pair
    magnification: float
    layer: str = ""
    evidence: Tensor | None = None
    seen: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class MILOutput:
    """A prediction.

    Attributes
    ----------
    logits : (C,) Tensor
        Outputs before the link function of the model's task.
    steps : tuple of Step
        Lowest magnification first; empty if the model does not score patches. In training the instances
        of a step may be mixtures of patches; only the first step's rows are single patches.
    planes : tuple of Plane
    members : tuple of MILOutput
        Of an ensemble, the outputs of its models, in whose embeddings gradients begin.
    """

    logits: Tensor
    steps: tuple[Step, ...] = ()
    planes: tuple[Plane, ...] = ()
    members: tuple[MILOutput, ...] = ()


Pass = Generator[Need | NeedImage, Tensor, MILOutput]


def drain(steps: Pass, answer: Callable[[Any], Tensor]) -> MILOutput:
    """Run a pass to its end with ``answer(need)`` for each of its needs."""
    try:
        need = next(steps)
        while True:
            need = steps.send(answer(need))
    except StopIteration as stop:
        return stop.value


def instance_heads(task: Task) -> tuple[str, ...]:
    """Names of heads with the logits of each patch alone, one per output."""
    return tuple(f"instance {name}" for name in task.names)


class MILModel(nn.Module):
    """Base of the models: a coroutine over a patch grid.

    Parameters
    ----------
    in_features : int
        Width of the input features.
    classes : int
        Number of outputs.
    magnifications : sequence of float
        Ascending, with whole ratios.
    options : dataclass instance
        An instance of the ``config`` type of the model's registry entry.

    Attributes
    ----------
    name : str
        Name in the registry.
    heads : tuple of str
        Names of the columns of ``Step.scores``: ``"attention"`` or another word; the name of the class that
        an attention is for; or a word and the name of a class, such as ``"instance tumour"``. The first is
        shown by default.
    task : Task
        Meaning of its outputs; unnamed classes until it is loaded or trained.
    ratios : tuple of int
        Ratio of each magnification to the one before it.
    reads_images : bool
        Whether it reads one image, of any size and at any magnification, in place of patches.
    patch_size : int or None
        Patch size that the model was trained on, px; None, for any, until it is loaded or trained; 0 if it
        reads images.
    encoder_hash : str
        Hash of the encoder that the model was trained on; empty until it is loaded or trained, and if it has
        no encoder.
    explained_layer : str
        Of a model with planes, the layer that Grad-CAM explains by default; the last one if empty.

    Raises
    ------
    MagnificationError
        If the magnifications are not ascending with whole ratios.
    """

    name: str = ""
    task: Task
    reads_images: bool = False
    patch_size: int | None = None
    encoder_hash: str = ""
    explained_layer: str = ""

    def __init__(self, in_features: int, classes: int, magnifications: Sequence[float], options: Any) -> None:
        super().__init__()
        self.in_features, self.classes, self.options = in_features, classes, options
        self.magnifications = tuple(float(one) for one in magnifications)
        self.ratios = zoom_ratios(self.magnifications)
        self.task = Classification.unnamed(classes)

    @property
    def heads(self) -> tuple[str, ...]:
        return ("attention",)

    @abstractmethod
    def steps(self, grid: PatchGrid) -> Pass:
        """The pass over one slide."""

    def losses(self, output: MILOutput, target: Tensor, progress: float) -> dict[str, Tensor]:
        """The losses by name; training minimises their sum, weighted by the recipe.

        Parameters
        ----------
        output : MILOutput
            Output for a bag.
        target : () Tensor
            Index of the bag's class, or its value.
        progress : float
            Progress of the training, 0 to 1.
        """
        return {"bag": self.task.loss(output.logits, target)}

    def validating(self) -> AbstractContextManager[None]:
        """Entered for a pass over a validation slide after an epoch; for models that read less then."""
        return nullcontext()

    def start(self) -> None:
        """Called once for a new model before it is trained; for models that begin with pretrained weights."""

    def auxiliary(self, slides: int) -> nn.Module | None:
        """A network that is trained beside the model and not kept with it; None for none.

        For each training slide, ``network(output, slide, progress)`` returns further losses by name, where
        ``slide`` is the number of the slide; otherwise see :meth:`losses`.

        Parameters
        ----------
        slides : int
            Number of training slides.
        """
        return None

    def config(self) -> dict[str, Any]:
        """Arguments of :func:`napari_zoommil.models.create` that build the same architecture."""
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.options).items()}
        return {
            "in_features": self.in_features,
            "classes": self.classes,
            "magnifications": list(self.magnifications),
            **options,
        }

    def patches_needed(self, counts: tuple[int, ...], ratios: tuple[int, ...]) -> tuple[int, ...]:
        """Number of patches that a pass requests at each magnification, given their number on the slide; all
        of them unless a model overrides this."""
        return counts

    @property
    def reads_all(self) -> bool:
        """Whether a pass requests every patch of the slide."""
        return type(self).patches_needed is MILModel.patches_needed

    def attention_logits(self, level: int, features: Tensor) -> Tensor:
        """Attention logits of single patches, also of those that a pass would not select.

        Parameters
        ----------
        level : int
            Index into the magnifications.
        features : (n, D)

        Returns
        -------
        (n, H)
            Raw logits, one column per attention at this magnification; the first is used for pooling.

        Raises
        ------
        ModelError
            If the model has no attention over patches.
        """
        raise ModelError(
            f"{self.name} has no attention over patches that points can train; choose a model that has one, "
            "such as zoommil"
        )

    def forward(self, bag: Bag) -> MILOutput:
        """Predict from a bag that answers needs at once."""
        self.check(bag)
        device = next(self.parameters()).device
        return drain(self.steps(bag.grid), lambda need: self.fitting(answer(bag, need), need).to(device))

    def check(self, bag: Bag) -> None:
        """Check that magnifications, patch size and encoder of a bag are those of the model, or that the bag
        is an image, if that is what it reads.

        The width of features is checked when they are answered, see :meth:`fitting`.

        Raises
        ------
        ModelError
        """
        grid = bag.grid
        if self.reads_images:
            return require_image(grid)
        if grid.magnifications != self.magnifications:
            made, given = (
                ", ".join(map(magnification_name, m)) for m in (self.magnifications, grid.magnifications)
            )
            raise ModelError(f"this model reads {made}, but the patches are at {given}")
        if self.patch_size not in (None, grid.patch_size):
            raise ModelError(
                f"this model reads patches of {self.patch_size} px, but these have {grid.patch_size} px"
            )
        if self.encoder_hash and bag.encoder_hash and bag.encoder_hash != self.encoder_hash:
            raise ModelError(
                f"this model needs features of the encoder {self.encoder_hash}, but these are from "
                f"{bag.encoder_hash}; embed the slide with the encoder of the model"
            )

    def fitting(self, answered: Tensor, need: Need | NeedImage) -> Tensor:
        """Check the width of the features of an answer, and return it.

        Raises
        ------
        ModelError
        """
        features = isinstance(need, Need) and need.what == "features"
        if features and answered.shape[1] != self.in_features:
            raise ModelError(
                f"this model takes {self.in_features} features per patch, but was given "
                f"{answered.shape[1]}: they are from another encoder"
            )
        return answered

    def outputs(self, bags: Sequence[Bag]) -> list[MILOutput]:
        """Outputs of the bags of a training step; models that normalise over a batch pass them together."""
        return [self(bag) for bag in bags]

    def progress(self, share: float) -> None:
        """Called before each training step with the progress, 0 to 1; for models with a schedule."""
