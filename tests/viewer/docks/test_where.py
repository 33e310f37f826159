"""Where a job looks: what is offered, what it means, and when it is another place; without a window."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.geometry import Box
from napari_zoommil.viewer.docks.where import SETTLED_MS, TISSUE, WINDOW, Inside, Where
from napari_zoommil.viewer.session import session_of

SQUARE = [(100, 100), (100, 300), (300, 300), (300, 100)]


@pytest.fixture
def path(small_slide: Path, tmp_path: Path) -> Path:
    path = Path(shutil.copy(small_slide, tmp_path / "small.tif"))
    points = Points("them", [CellClass("tumour", (200, 0, 0))])
    points.add_region(SQUARE, 1)
    points.add_region(SQUARE)
    points.write(path.with_name("small.points.geojson"))
    return path


@pytest.fixture
def where(path: Path, add_slide, qtbot):
    viewer = ViewerModel()
    session, heard = session_of(viewer), []
    add_slide(viewer, path)
    widget = Where(viewer, session, TISSUE, lambda: heard.append(1))
    qtbot.addWidget(widget)
    widget.set_slide(session.active)
    yield widget, session.active, heard
    widget.stop()


def offered(where: Where) -> list[str]:
    return [where.choice.itemText(row) for row in range(where.choice.count())]


def test_tissue_window_and_regions_are_offered(where) -> None:
    widget, _, heard = where
    assert offered(widget) == [
        TISSUE,
        WINDOW,
        "Inside all regions (2)",
        "Inside tumour (1)",
        "Inside regions without class (1)",
    ]
    assert widget.chosen == TISSUE and widget.regions() == ((), "") and not heard
    for choice, count in ((Inside(), 2), (Inside("tumour"), 1), (Inside(""), 1)):
        widget.choose(choice)
        regions, why = widget.regions()
        assert (len(regions), why) == (count, "") and all(one.area == 200 * 200 for one in regions)
    widget.choose(WINDOW)
    ((seen,), why) = widget.regions()
    assert isinstance(seen, Box) and not why and len(heard) == 4
    widget.set_slide(None)
    assert widget.chosen == WINDOW and offered(widget)[:3] == [TISSUE, WINDOW, "Inside all regions (0)"]


def test_edits_of_the_regions_it_is_inside_are_told(where) -> None:
    widget, entry, heard = where
    points = entry.document.points
    points.add_region(SQUARE, 1)
    assert not heard and "Inside tumour (2)" in offered(widget)
    widget.choose(Inside("tumour"))
    points.add([1, 1], 1)
    assert len(heard) == 1
    points.add_region(SQUARE, 1)
    assert len(heard) == 2 and len(widget.regions()[0]) == 3
    points.remove_regions([id for id, one in points.regions.items() if one.class_name])
    assert widget.chosen == TISSUE and len(heard) == 3, "what is no longer there is not chosen"
    widget.choose(Inside())
    points.remove_regions(points.regions)
    assert widget.regions() == ((), "Draw a region first")


def test_the_window_is_another_place_once_it_rests(where, qtbot) -> None:
    widget, _, heard = where
    camera = widget._viewer.scene.camera
    camera.zoom = 3
    qtbot.wait(2 * SETTLED_MS)
    assert not heard
    widget.choose(WINDOW)
    for zoom in (4, 5, 6):
        camera.zoom = zoom
    assert len(heard) == 1
    qtbot.waitUntil(lambda: len(heard) == 2)
    qtbot.wait(2 * SETTLED_MS)
    assert len(heard) == 2
    camera.center = (0, -1e6, -1e6)
    assert widget.regions() == ((), "The window shows nothing of the slide")


def test_a_region_is_drawn_and_chosen(where, qtbot) -> None:
    widget, entry, _ = where
    widget.draw.click()
    assert entry.annotations.regions.drawing and widget.chosen == Inside("")
    entry.annotations.regions.layer.add_polygons(np.array([(400, 400), (400, 500), (500, 500)]))
    qtbot.waitUntil(lambda: len(widget.regions()[0]) == 2)
    assert [one.class_name for one in entry.document.points.regions.values()] == ["tumour", "", ""]
    widget.choose(Inside("tumour"))
    widget.draw.click()
    assert widget.chosen == Inside(""), "what is drawn there has no class"
