"""What ``predict`` returns: plain numbers and maps, nothing that holds a device or a slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.maps import HeatMap


@dataclass(frozen=True, eq=False)
class StepResult:
    """What the model saw at one magnification.

    Attributes
    ----------
    level : int
    rows : (n,) int64
        Patches looked at, rows of ``grid.levels[level]``.
    attention : (n,) float32
        Raw attention logits.
    grad_cam : (C, n) float32
    zoomed : (k,) int64
        Rows zoomed into.
    """

    level: int
    rows: NDArray[np.int64]
    attention: NDArray[np.float32]
    grad_cam: NDArray[np.float32]
    zoomed: NDArray[np.int64]


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
    """

    encoded: tuple[int, ...]
    seconds: float
    device: str
    taken: tuple[int, ...] = ()
    unkept: str = ""

    @property
    def patches(self) -> tuple[int, ...]:
        """Patches whose features the model was given, at each magnification."""
        return tuple(map(sum, zip(self.encoded, self.taken or (0,) * len(self.encoded), strict=True)))


@dataclass(frozen=True, eq=False)
class Prediction:
    """A slide's prediction with its maps.

    Attributes
    ----------
    slide, fingerprint, model : str
    class_names : tuple of str
    probabilities, logits : (C,) float32
    grid : PatchGrid
    steps : tuple of StepResult
        From the lowest magnification on.
    maps : tuple of HeatMap
        Attention of each magnification, then Grad-CAM of each class and magnification.
    cost : Cost
    damaged : int
        Tiles of the slide that cannot be decoded and were read as background.
    """

    slide: str
    fingerprint: str
    model: str
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    grid: PatchGrid
    steps: tuple[StepResult, ...]
    maps: tuple[HeatMap, ...]
    cost: Cost
    damaged: int = 0

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return self.class_names[int(np.argmax(self.probabilities))]

    def maps_of(self, kind: str, target: str | None = None) -> tuple[HeatMap, ...]:
        """Maps of one kind (and class), one per magnification."""
        return tuple(m for m in self.maps if m.kind == kind and m.target == target)


@dataclass(frozen=True, eq=False)
class PartialMap:
    """A map that is still filling, for the window."""

    level: int
    map: HeatMap
