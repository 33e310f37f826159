"""Specification of a cell model, read without its weights and without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval, MaxLen, MinLen
from numpy.typing import NDArray

from napari_zoommil.annotations import CellClass
from napari_zoommil.model_folder import parse, read_config, require_distinct
from napari_zoommil.slides.readers.base import PLAUSIBLE_MPP

Resolution = Annotated[float, Interval(ge=PLAUSIBLE_MPP[0], le=PLAUSIBLE_MPP[1])]
"""A plausible resolution, µm/px."""


@dataclass(frozen=True)
class CellSpec:
    """Architecture, input and classes of a trained cell model.

    Attributes
    ----------
    architecture : str
        unet or yollo.
    config : dict
        Its arguments.
    mpp : float
        Resolution of its input, µm/px.
    classes : tuple of CellClass
    threshold : float
        Least score of a detection that counts; for a U-Net also the threshold of its probability map.
    training : dict
        Data, seeds and metrics, as in the model card.
    """

    architecture: Annotated[str, MaxLen(100)]
    config: dict[str, Any]
    mpp: Resolution
    classes: Annotated[tuple[CellClass, ...], MinLen(1)]
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def diameters_px(self) -> NDArray[np.float64]:
        """Cell diameter of each class, px at the resolution of the model."""
        return np.array([one.diameter_um for one in self.classes]) / self.mpp


def read_cell_spec(name: str | Path) -> CellSpec:
    """Read the specification of a cell model from its configuration.

    Parameters
    ----------
    name : str or Path
        Shipped model, folder, or hub name.

    Raises
    ------
    ModelError
        If there is none, or it is not a cell model.
    """
    folder, content = read_config(name, "cells")
    spec = parse(CellSpec, folder, content)
    require_distinct(folder, "classes", [one.name for one in spec.classes])
    return spec


@dataclass(frozen=True)
class CellModel:
    """The properties of a cell model that docks show.

    Attributes
    ----------
    name : str
        Name to pass to ``detect``.
    classes : tuple of CellClass
    threshold : float
        Least score of a detection that counts.
    mpp : float
        Pixel size of the input, µm/px.
    """

    name: str
    classes: tuple[CellClass, ...]
    threshold: float
    mpp: float

    @property
    def title(self) -> str:
        """Title of the layer of its detections: ``cells (yollo)``."""
        return finds_title(self.name)


def finds_title(model: str) -> str:
    """Title of the layer of a model's detections."""
    return f"cells ({Path(model).name})"


def read_cell_model(name: str | Path) -> CellModel:
    """Read the properties of a cell model that docks show, from its configuration.

    Raises
    ------
    ModelError
        If there is none, or it is not a cell model.
    """
    spec = read_cell_spec(name)
    return CellModel(str(name), spec.classes, spec.threshold, spec.mpp)
