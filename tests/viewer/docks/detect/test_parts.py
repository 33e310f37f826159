"""How long a search will take, told by the one before."""

from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.cells.spec import CellModel
from napari_zoommil.cells.tiling import CORE_PX
from napari_zoommil.jobs import Progress
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.docks.detect import parts
from napari_zoommil.viewer.docks.detect.parts import Pace, Place, Search, area_sentence
from napari_zoommil.viewer.session import session_of

MODEL = CellModel("test", (), 0.5, 0.5)


@pytest.fixture
def entry(model, cmu, add_slide):
    add_slide(model, cmu)
    return session_of(model).active


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [0.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    return now


def square(edge: float) -> np.ndarray:
    return np.array([(0.0, 0.0), (0.0, edge), (edge, edge), (edge, 0.0)])


def test_a_small_search_tells_how_long_a_large_one_takes(entry, clock) -> None:
    search = Search(entry, MODEL, "cpu", started=0.0)
    for now, progress in (
        (5.0, Progress(0, 1, "loading the model")),
        (8.0, Progress(0, 2, "0 of 2 tiles")),
        (9.0, Progress(2, 2, "2 of 2 tiles", [])),
    ):
        clock[0] = now
        search.hear(progress)
    pace = search.pace
    assert pace == Pace(8.0, 0.5, 0.5)
    height, width = entry.slide.shape
    tiles = -(-height // CORE_PX) * -(-width // CORE_PX)  # the model sees the slide as it is
    everything = Place(entry, (), 1.6, 1.6)
    entry.tissue = Tissue(np.ones((30, 23), bool), (100.0, 100.0))
    assert everything.tiles(0.499) == tiles == 48
    assert area_sentence(everything, pace) == "1.6 mm² of tissue, about 32 s by the last run"
    corner = Place(entry, (square(20.0),), 0.0001, 0.0001)
    assert area_sentence(corner, pace) == "0.0001 mm², about 8 s by the last run"


def test_a_search_without_tiles_tells_nothing(entry, clock) -> None:
    search = Search(entry, MODEL, "cpu")
    search.hear(Progress(0, 1, "loading the model"))
    assert search.pace is None


def test_without_the_tissue_the_estimate_is_an_upper_bound(entry) -> None:
    entry.tissue = None
    told = area_sentence(Place(entry, (), None, 1.64), Pace(1.0, 1.0, 0.499))
    assert told == "The tissue, at most 1.64 mm², at most 49 s by the last run"
