"""Slides share one origin: the layers of only one are in sight."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.viewer.metadata import SLIDE
from napari_zoommil.viewer.sight import sight_of

FIRST, SECOND = SimpleNamespace(name="first"), SimpleNamespace(name="second")


@pytest.fixture
def viewer(qapp) -> ViewerModel:
    """Two layers of each of two slides, and one of none."""
    viewer = ViewerModel()
    for slide in (FIRST, FIRST, SECOND, SECOND):
        viewer.add_points(np.zeros((1, 2)), metadata={SLIDE: slide})
    viewer.add_points(np.zeros((1, 2)))
    return viewer


def shown(viewer) -> list[bool]:
    return [layer.visible for layer in viewer.layers]


def test_another_slide_takes_the_place_of_the_first(viewer) -> None:
    sight = sight_of(viewer)
    assert sight_of(viewer) is sight
    sight.show_only(FIRST)
    assert shown(viewer) == [True, True, False, False, True] and sight.is_away(SECOND)
    sight.show_only(SECOND)
    assert shown(viewer) == [False, False, True, True, True]
    sight.show_only(None)
    assert shown(viewer) == [False, False, False, False, True]


def test_what_the_user_has_hidden_stays_so(viewer) -> None:
    sight = sight_of(viewer)
    sight.show_only(FIRST)
    viewer.layers[1].visible = False
    sight.show_only(SECOND)
    sight.forget(viewer.layers[0])
    sight.show_only(FIRST)
    assert shown(viewer) == [False, False, False, False, True]


def test_a_removed_layer_is_not_held(viewer) -> None:
    sight = sight_of(viewer)
    sight.show_only(FIRST)
    gone = viewer.layers[3]
    assert sight.is_hidden(gone)
    viewer.layers.remove(gone)
    assert not sight.is_hidden(gone)
