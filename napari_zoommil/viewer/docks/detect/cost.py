"""How long a search will take, from the last one of this model on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from napari_zoommil.cells.spec import read_cell_model
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs.loading import is_in_memory
from napari_zoommil.jobs.pace import DETECT, Pace, Work, last_pace
from napari_zoommil.viewer.docks.detect.parts import Place
from napari_zoommil.viewer.worker import spare_cores


@dataclass(frozen=True)
class SearchPace:
    """The pace of a model.

    Attributes
    ----------
    pace : Pace
        Per tile.
    loading : float
        Seconds until the model is ready: 0 if it is in memory.
    mpp : float
        Pixel size of the model's input, µm/px.
    """

    pace: Pace
    loading: float
    mpp: float

    def seconds(self, place: Place) -> float:
        """Expected duration of a search."""
        return self.loading + self.pace.seconds * place.tiles(self.mpp)


class SearchPaces:
    """Looks up paces, and keeps them until :meth:`forget`: they are asked for while the view moves."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], SearchPace | None] = {}

    def of(self, model: str, device: str) -> SearchPace | None:
        """The pace of a model on a device; None if it is not known yet."""
        if (model, device) not in self._known:
            self._known[model, device] = _look_up(model, device)
        return self._known[model, device]

    def forget(self) -> None:
        """A search has ended, or another dock may have changed what is in memory."""
        self._known.clear()


def _look_up(model: str, device: str) -> SearchPace | None:
    try:
        about = read_cell_model(model)
    except ZoomMILError:
        return None  # the search says what is wrong
    pace = last_pace(Work(DETECT, about.name, device, spare_cores()))
    if pace is None:
        return None
    return SearchPace(pace, 0.0 if is_in_memory(about.name, "cells") else pace.loading, about.mpp)
