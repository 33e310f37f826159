"""How long a search will take, told by the one before."""

from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.jobs.pace import DETECT, Stopwatch, Work
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.docks.detect.cost import SearchPaces
from napari_zoommil.viewer.docks.detect.parts import Place, area_sentence
from napari_zoommil.viewer.session import session_of
from napari_zoommil.viewer.worker import spare_cores


@pytest.fixture
def entry(model, cmu, add_slide):
    add_slide(model, cmu)
    return session_of(model).active


def square(edge: float) -> np.ndarray:
    return np.array([(0.0, 0.0), (0.0, edge), (edge, edge), (edge, 0.0)])


def test_an_estimate_is_made_from_the_last_run(entry, monkeypatch) -> None:
    work = Work(DETECT, "yollo", "cpu", spare_cores())
    paces = SearchPaces()
    assert paces.of("yollo", "cpu") is None is paces.of("nothing", "cpu")
    now = [0.0]
    watch = Stopwatch(work, True, lambda: now[0])
    for now[0], units in ((8.0, 0), (9.0, 4), (19.0, 24)):
        watch.count(units) if units else watch.loaded()
    watch.record("cpu")
    assert paces.of("yollo", "cpu") is None, "asked for while the view moves, and so kept"
    paces.forget()
    pace = paces.of("yollo", "cpu")
    everything = Place(entry, (), 1.6, 1.6)
    entry.tissue = Tissue(np.ones((30, 23), bool), (100.0, 100.0))
    tiles = everything.tiles(pace.mpp)
    assert tiles > 12 and pace.seconds(everything) == pytest.approx(8 + 0.5 * tiles), "loading is counted"
    monkeypatch.setattr("napari_zoommil.viewer.docks.detect.cost.is_in_memory", lambda *_: True)
    paces.forget()
    assert paces.of("yollo", "cpu").seconds(everything) == pytest.approx(0.5 * tiles)


def test_the_sentence_says_what_is_known(entry) -> None:
    everything, corner = Place(entry, (), 1.6, 1.6), Place(entry, (square(20.0),), 0.0001, 0.0001)
    assert area_sentence(everything, 32.0) == "1.6 mm² of tissue, about 32 s by the last run"
    assert area_sentence(corner, 8.0) == "0.0001 mm², about 8 s by the last run"
    assert area_sentence(corner, None) == "0.0001 mm². How long it takes is not known yet"
    assert "not known yet" in area_sentence(Place(entry, (), 6.0, 6.0), None)
    told = area_sentence(Place(entry, (), None, 1.64), 49.0)
    assert told == "The tissue, at most 1.64 mm², at most 49 s by the last run"
