"""Drawing regions in a real window, with a real mouse: the same in all docks in which one can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from napari.layers import Shapes
from napari.utils.notifications import notification_manager
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_zoommil.viewer import settings
from napari_zoommil.viewer.docks.attention import dock as attention
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.layers.drawing import HOW, NO_REGION
from napari_zoommil.viewer.layers.overlays import find_layer
from napari_zoommil.viewer.session import session_of

A, B, C, D = (300.0, 200.0), (360.0, 200.0), (360.0, 260.0), (300.0, 260.0)
"""Corners of a square on the canvas, px."""


@dataclass(frozen=True)
class Way:
    """A way to draw regions: what begins it, what they become, and their layer."""

    name: str
    button: QPushButton
    regions: Callable[[], list[NDArray]]
    layer: Callable[[], Shapes]


@pytest.fixture
def window(make_napari_viewer, small_slide, add_slide, tmp_path, qtbot, mouse, monkeypatch):
    """Viewer, mouse, what presses a key over the canvas, and all ways to draw."""
    monkeypatch.setattr(
        attention, "estimate", lambda *_, **__: (nothing for nothing in ())
    )  # what a run costs is not asked here
    monkeypatch.setattr(attention.AttentionDock, "_estimated", lambda *_: None)
    monkeypatch.setattr(settings, "annotator", lambda: "reader")
    viewer = make_napari_viewer(show=True)
    slide_layer = add_slide(viewer, shutil.copy(small_slide, tmp_path / "small.tif"))
    slide = session_of(viewer).active.slide
    docks = [show_dock(viewer, name) for name in ("Attention", "Detect cells", "Annotate")]
    docks[2]._place(False)
    notification_manager.records.clear()
    viewer.layers.selection.active = slide_layer
    viewer.scene.camera.center = (0, 512, 512)
    qtbot.wait(50)
    hand = mouse(viewer)

    def found(title: str) -> Callable[[], Shapes]:
        return lambda: find_layer(viewer, slide, title)

    def regions() -> dict:
        return docks[2].current.points.regions

    ways = (
        Way(
            "add",
            docks[0].add,
            lambda: tissue_regions.polygons(viewer, slide)[0],
            found(tissue_regions.TITLES["add"]),
        ),
        Way(
            "leave out",
            docks[0].leave,
            lambda: tissue_regions.polygons(viewer, slide)[1],
            found(tissue_regions.TITLES["leave out"]),
        ),
        Way(
            "search",
            docks[1].where.draw,
            lambda: [one.outline for one in regions().values() if not one.complete],
            found("regions"),
        ),
        Way(
            "complete",
            docks[2].mark.complete,
            lambda: [one.outline for one in regions().values() if one.complete],
            found("regions"),
        ),
    )
    return viewer, hand, lambda name: qtbot.keyClick(hand.canvas, name), ways


def level_0(viewer, place) -> NDArray:
    """y and x in level-0 px of a place on the canvas."""
    size = np.array(viewer.canvas.size)
    camera = viewer.scene.camera
    return (np.array(camera.center[-2:]) + (np.array(place[::-1]) - size / 2) / camera.zoom) / 0.25


def expect_done(viewer, way: Way, qtbot, before, corners) -> None:
    """There is one region, with its corners where the mouse was, and the tool is put away."""
    qtbot.waitUntil(lambda: len(way.regions()) == 1 and way.layer().mode == "pan_zoom", timeout=3000)
    (outline,), places = way.regions(), np.array([level_0(viewer, corner) for corner in corners])
    step = 12 / viewer.scene.camera.zoom / 0.25  # px between the corners of a held mouse
    np.testing.assert_allclose((outline.min(0), outline.max(0)), (places.min(0), places.max(0)), atol=step)
    assert len(way.layer().data) == (2 if way.name == "complete" else 1), way.name  # one layer for both
    if way.name != "complete":  # there one goes on to mark cells
        assert viewer.layers.selection.active is before, way.name
    assert not viewer.canvas.overlays.text.visible, way.name


def test_too_few_corners_are_told_of_and_the_next_region_is_drawn(window, qtbot) -> None:
    viewer, hand, key, ways = window
    for way in ways:
        before = viewer.layers.selection.active
        qtbot.mouseClick(way.button, Qt.MouseButton.LeftButton)
        way.layer().events.data.connect(lambda _, way=way: way.regions())  # in the middle of each edit
        assert viewer.canvas.overlays.text.text.split() == HOW.split() and viewer.canvas.overlays.text.visible
        for too_few in ((A, B), (A, A), (A, B, (420.0, 200.0))):
            for corner in too_few:
                hand.click(corner)
            hand.move((400.0, 220.0))
            assert not way.regions(), f"{way.name}: it is not done"
            key(Qt.Key.Key_Return)
            qtbot.waitUntil(lambda: bool(notification_manager.records), timeout=3000)
            assert [one.message for one in notification_manager.records] == [f"{NO_REGION}. {HOW}"], way.name
            notification_manager.records.clear()
            assert not way.regions()
            assert way.layer().mode == "add_polygon" and viewer.layers.selection.active is way.layer()
        hand.click(A)
        hand.click(B)
        hand.double_click(C)
        expect_done(viewer, way, qtbot, before, (A, B, C))
    assert [len(way.regions()) for way in ways] == [1, 1, 1, 1]
    assert not notification_manager.records, "nothing else was said"


def test_a_held_mouse_draws_a_region(window, qtbot) -> None:
    viewer, hand, _, ways = window
    for way in ways:
        before = viewer.layers.selection.active
        qtbot.mouseClick(way.button, Qt.MouseButton.LeftButton)
        hand.go_round(A, B, C, D, A)
        expect_done(viewer, way, qtbot, before, (A, B, C, D))
        assert len(way.regions()[0]) > 8, "it follows the hand"


def test_escape_another_button_and_a_trembling_hand(window, qtbot) -> None:
    viewer, hand, key, ways = window
    for way in ways:
        before = viewer.layers.selection.active
        qtbot.mouseClick(way.button, Qt.MouseButton.LeftButton)
        for corner in (A, B, C):
            hand.click(corner)
        key(Qt.Key.Key_Escape)
        qtbot.wait(20)
        assert not way.regions() and way.layer().mode == "pan_zoom", way.name
        assert viewer.layers.selection.active is before, way.name
    first, second = ways[:2]
    qtbot.mouseClick(first.button, Qt.MouseButton.LeftButton)
    for corner in (A, B, C):
        hand.click(corner)
    qtbot.mouseClick(second.button, Qt.MouseButton.LeftButton)
    qtbot.wait(20)
    assert not first.layer().data and viewer.layers.selection.active is second.layer()
    before = first.layer()
    for x, y in (A, B, C):
        hand.move((x, y))
        hand.press((x, y))
        hand.move((x + 4, y), Qt.MouseButton.LeftButton)
        hand.move((x + 11, y), Qt.MouseButton.LeftButton)
        hand.release((x + 11, y))
    assert not second.regions(), "these were clicks"
    key(Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(second.regions()) == 1, timeout=3000)
    assert not notification_manager.records
