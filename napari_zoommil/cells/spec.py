"""What a cell model was made of and for, read without loading it: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval, MinLen
from numpy.typing import NDArray

from napari_zoommil.annotations import CellClass
from napari_zoommil.model_folder import parse, read_config
from napari_zoommil.slides.readers.base import PLAUSIBLE_MPP

Resolution = Annotated[float, Interval(ge=PLAUSIBLE_MPP[0], le=PLAUSIBLE_MPP[1])]
"""µm/px that a microscope can have."""


@dataclass(frozen=True)
class CellSpec:
    """What a cell model was made of and for.

    Attributes
    ----------
    architecture : str
        unet or yollo.
    config : dict
        Its arguments.
    mpp : float
        µm/px that it sees.
    classes : tuple of CellClass
    threshold : float
        Score from which a find counts: for a U-Net also the probability at which its map is cut.
    training : dict
        Data, seeds and figures, as the card states them.
    """

    architecture: str
    config: dict[str, Any]
    mpp: Resolution
    classes: Annotated[tuple[CellClass, ...], MinLen(1)]
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def diameters_px(self) -> NDArray[np.float64]:
        """Of a cell of each class, at the resolution of the model."""
        return np.array([one.diameter_um for one in self.classes]) / self.mpp


def read_cell_spec(name: str | Path) -> CellSpec:
    """What a cell model is, by its configuration alone.

    Parameters
    ----------
    name : str or Path
        Shipped model, folder, or hub name.

    Raises
    ------
    ModelError
        If there is none, or it is not a cell model.
    """
    return parse(CellSpec, *read_config(name, "cells"))


@dataclass(frozen=True)
class CellModel:
    """A cell model as docks show it.

    Attributes
    ----------
    name : str
        What ``detect`` takes.
    classes : tuple of CellClass
    threshold : float
        Score from which a find counts.
    mpp : float
        µm/px that it sees.
    """

    name: str
    classes: tuple[CellClass, ...]
    threshold: float
    mpp: float

    @property
    def title(self) -> str:
        """Of the layer of its finds: ``cells (yollo)``."""
        return finds_title(self.name)


def finds_title(model: str) -> str:
    """Of the layer of a model's finds."""
    return f"cells ({Path(model).name})"


def read_cell_model(name: str | Path) -> CellModel:
    """What docks show of a cell model, by its configuration alone.

    Raises
    ------
    ModelError
        If there is none, or it is not a cell model.
    """
    spec = read_cell_spec(name)
    return CellModel(str(name), spec.classes, spec.threshold, spec.mpp)
