"""What ``predict`` returns: plain numbers and maps, nothing that holds a device or a slide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import UNKNOWN, Verdict
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.evidence import leave_one_out
from napari_zoommil.models.task import Classification, Task


@dataclass(frozen=True, eq=False)
class StepResult:
    """What the model saw at one magnification.

    Attributes
    ----------
    level : int
    rows : (n,) int64
        Patches looked at, rows of ``grid.levels[level]``.
    scores : (n, H) float32
        Raw scores, a column for each head; of an attention, logits.
    heads : tuple of str
        Names of the columns.
    zoomed : (k,) int64
        Rows zoomed into.
    evidence : (C, n) float32 or None
        What each patch adds to each output: over all steps they sum to the logits less the bias. None of a
        model whose outputs are no such sums.
    pooling : tuple of int, optional
        Columns of ``scores`` that weight the evidence; see :class:`napari_zoommil.models.mil.Step`.
    rest : (P,) float32 and (C,) float32, optional
        What the patches of other steps weigh and add, if all of them are pooled together; see there too.
    """

    level: int
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    heads: tuple[str, ...]
    zoomed: NDArray[np.int64]
    evidence: NDArray[np.float32] | None = None
    pooling: tuple[int, ...] | None = (0,)
    rest: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def attention(self) -> NDArray[np.float32]:
        """(n,) scores of the first head."""
        return self.scores[:, 0]

    @cached_property
    def explained(self) -> dict[str, NDArray[np.float32]]:
        """(C, n) scores of the methods of explanation that need no more than a prediction, by their names."""
        if self.evidence is None:
            return {}
        if self.pooling is None:
            return {"evidence": self.evidence}
        columns = self.scores.T[list(self.pooling)] if self.pooling else np.zeros_like(self.scores.T[:1])
        return {"evidence": self.evidence, "leave-one-out": leave_one_out(columns, self.evidence, self.rest)}


@dataclass(frozen=True)
class Cost:
    """What a prediction took.

    Attributes
    ----------
    encoded : tuple of int
        Patches encoded for it at each magnification.
    seconds : float
        Wall time, reading included.
    device : str
    taken : tuple of int
        Patches at each magnification whose features were kept from an earlier run.
    unkept : str
        Why features could not be kept for a later run; empty where they were.
    image : (int, int) or None
        Height and width of the image that a model read in place of patches, px.
    """

    encoded: tuple[int, ...]
    seconds: float
    device: str
    taken: tuple[int, ...] = ()
    unkept: str = ""
    image: tuple[int, int] | None = None

    @property
    def patches(self) -> tuple[int, ...]:
        """Patches whose features the model was given, at each magnification."""
        return tuple(map(sum, zip(self.encoded, self.taken or (0,) * len(self.encoded), strict=True)))

    @property
    def counted(self) -> str:
        """``1,234 patches, 1,000 of them encoded before``, ``an image of 800 × 600 px``."""
        if self.image is not None:
            return image_text(self.image)
        known = f", {sum(self.taken):,} of them encoded before" if sum(self.taken) else ""
        return f"{sum(self.patches):,} patches{known}"


def image_text(shape: tuple[int, int]) -> str:
    """``an image of 800 × 600 px``, of height and width."""
    return f"an image of {shape[1]:,} × {shape[0]:,} px"


@dataclass(frozen=True, eq=False)
class Prediction:
    """A slide's prediction with its maps.

    Attributes
    ----------
    slide, fingerprint, model : str
    task : Task
        What the values mean.
    values : (C,) float32
        Probabilities of the classes, or the number that was asked for, in its unit.
    logits : (C,) float32
    grid : PatchGrid
    steps : tuple of StepResult
        From the lowest magnification on; none of a model that does not score patches.
    maps : tuple of HeatMap
        Each head's scores at each magnification, then what is explained of each output.
    cost : Cost
    damaged : int
        Tiles of the slide that cannot be decoded and were read as background.
    familiarity : Verdict
        How much of what was read is unlike what the model was trained on.
    regions_mm2 : float or None
        Extent of the regions that it is limited to; None if it is of all tissue, or nobody knows.
    """

    slide: str
    fingerprint: str
    model: str
    task: Task
    values: NDArray[np.float32]
    logits: NDArray[np.float32]
    grid: PatchGrid
    steps: tuple[StepResult, ...]
    maps: tuple[HeatMap, ...]
    cost: Cost
    damaged: int = 0
    familiarity: Verdict = UNKNOWN
    regions_mm2: float | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a classification; none of a regression."""
        return self.task.names if isinstance(self.task, Classification) else ()

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(C,) of the classes.

        Raises
        ------
        ModelError
            If the model tells a number.
        """
        if not isinstance(self.task, Classification):
            raise ModelError(f"{self.model} tells a number, {self.task.name}, and no probabilities")
        return self.values

    def is_of_the_patches_of(self, other: Prediction) -> bool:
        """Whether rows of both stand for the same patches."""
        levels = zip(self.grid.levels, other.grid.levels, strict=False)
        same = all(np.array_equal(one.origins, two.origins) and one.size == two.size for one, two in levels)
        return same and len(self.grid.levels) == len(other.grid.levels)

    @property
    def predicted(self) -> str:
        """The most probable class, or the value with its unit."""
        return self.task.predicted(self.values)

    @property
    def explained(self) -> str:
        """Name of the output that is explained where nobody says which."""
        return self.task.explained(self.values)

    def maps_of(self, kind: str, target: str | None = None) -> tuple[HeatMap, ...]:
        """Maps of one kind (and output), one per magnification."""
        return tuple(m for m in self.maps if m.kind == kind and m.target == target)

    @property
    def kinds(self) -> tuple[tuple[str, str | None], ...]:
        """The kinds of maps that there are, each with the output it speaks for."""
        return tuple(dict.fromkeys((m.kind, m.target) for m in self.maps))


@dataclass(frozen=True, eq=False)
class PartialMap:
    """A map that is still filling, for the window; ``output_unit`` is that of the model's output."""

    level: int
    map: HeatMap
    output_unit: str
