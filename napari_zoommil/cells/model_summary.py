"""What a cell model tells apart, read without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_zoommil.annotations import CellClass
from napari_zoommil.errors import ModelError, ZoomMILError
from napari_zoommil.model_folder import read_config


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
    """

    name: str
    classes: tuple[CellClass, ...]
    threshold: float

    @property
    def title(self) -> str:
        """Of the layer of its finds: ``cells (yollo)``."""
        return title_of(self.name)


def title_of(model: str) -> str:
    """Of the layer of a model's finds."""
    return f"cells ({Path(model).name})"


def read_cell_model(name: str | Path) -> CellModel:
    """What a cell model is, by its configuration alone.

    Raises
    ------
    ModelError
        If there is none, or it is not a cell model.
    """
    folder, content = read_config(name, "cells")
    try:
        classes = tuple(
            CellClass(one["name"], tuple(one["colour"]), one["diameter_um"]) for one in content["classes"]
        )
        return CellModel(str(name), classes, float(content.get("threshold", 0.5)))
    except (KeyError, TypeError, ValueError, ZoomMILError) as error:
        raise ModelError(f"{folder} is not a cell model: its configuration is malformed ({error})") from error
