"""What is trained in the experiments ``zoom-*``: models with options, at magnifications, on an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from napari_zoommil.experiments.zooming.cohort import MadeCohort

ALL = (5.0, 10.0, 20.0)
COLOUR = "mean-rgb"
"""The encoder of the colour-only baseline."""


@dataclass(frozen=True)
class Unit:
    """A model that is trained once per seed.

    Attributes
    ----------
    name : str
        Row of the tables.
    model : str
    magnifications : tuple of float
    options : dict
        Options of the model; others are those of the recipe.
    encoder : str
        Empty for the preset's.
    """

    name: str
    model: str
    magnifications: tuple[float, ...] = ALL
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: str = ""


@dataclass(frozen=True)
class Extent:
    """A preset of the experiments with trainings.

    Attributes
    ----------
    cohort : MadeCohort
        Used unless the user has a cohort.
    encoder : str
    patch_size : int
    epochs : int or None
        Epochs of every training; those of the recipe if None.
    learning_rate : float or None
    k : int
        Patches that ZoomMIL zooms into at each step, where it is not varied.
    recipe : str
        Recipe of each model.
    seeds : tuple of int
    """

    cohort: MadeCohort
    encoder: str = "nic"
    patch_size: int = 128
    epochs: int | None = None
    learning_rate: float | None = None
    k: int = 5
    recipe: str = "crc"
    seeds: tuple[int, ...] = (0, 1, 2)

    def described(self, unit: Unit) -> dict[str, Any]:
        """Everything that determines a training except cohort and seed, as JSON."""
        return asdict(unit) | {
            "name": "",
            "encoder": unit.encoder or self.encoder,
            "patch_size": self.patch_size,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "recipe": self.recipe,
        }


EXTENTS = {
    "cpu": Extent(MadeCohort(51, 24_576), epochs=30, learning_rate=3e-4),
    "paper": Extent(MadeCohort(306, 49_152, 0.002), encoder="resnet50", patch_size=256, k=12),
}
"""``paper``: encoder, patch size, epochs and learning rates of the paper; its slides cannot be had."""


def zoommil(extent: Extent, name: str = "zoommil", **options: Any) -> Unit:
    """ZoomMIL at 5x, 10x and 20x with the preset's K."""
    return Unit(name, "zoommil", ALL, {"k": extent.k, **options})


def names(units: Sequence[Unit], extent: Extent) -> list[str]:
    """Names of the trainings, ordered by seed, so that an interrupted run has complete first seeds."""
    return [f"{unit.name}/{seed}" for seed in extent.seeds for unit in units]
