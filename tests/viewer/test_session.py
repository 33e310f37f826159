"""One session per viewer: slides, the active one, their end."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_zoommil.errors import SlideError
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.maps.focus import WHOLE, Focus
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.open_slide import EXPLANATION, ResultKey
from napari_zoommil.viewer.session import session_of


def test_the_last_slide_is_active_until_another_is_selected(
    model, small_slide, other_slide, add_slide
) -> None:
    viewer = model
    session = session_of(viewer)
    assert session.active is None
    first, second = add_slide(viewer, small_slide), add_slide(viewer, other_slide)
    assert session.active.layer is second
    viewer.layers.selection.active = first
    assert session.active.layer is first
    viewer.layers.selection.active = viewer.add_points(np.zeros((1, 2)))
    assert session.active.layer is first


def test_slides_that_are_there_already_are_found(model, small_slide, add_slide) -> None:
    viewer = model
    layer = add_slide(viewer, small_slide)
    assert session_of(viewer).active.layer is layer
    assert session_of(viewer) is session_of(viewer)


def test_only_the_active_slide_is_in_sight(model, small_slide, other_slide, add_slide) -> None:
    viewer = model
    session_of(viewer)
    first, second = add_slide(viewer, small_slide), add_slide(viewer, other_slide)
    assert second.visible and not first.visible
    viewer.layers.selection.active = first
    assert first.visible and not second.visible


def test_nobody_moves_a_slide_or_an_overlay(model, small_slide, add_slide) -> None:
    viewer = model
    session = session_of(viewer)
    slide = add_slide(viewer, small_slide)
    overlay = tissue_regions.regions_layer(viewer, session.active.slide, "add")
    other = viewer.add_points(np.zeros((1, 2)))
    for layer, mode in ((slide, "pan_zoom"), (overlay, "pan_zoom"), (other, "transform")):
        layer.mode = "transform"
        assert layer.mode == mode
    assert "stay in place" in notification_manager.records[-1].message


def test_regions_follow_a_resolution_that_is_given_later(model, data, add_slide) -> None:
    viewer = model
    layer = add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    session = session_of(viewer)
    drawn = tissue_regions.regions_layer(viewer, session.active.slide, "add")
    session.set_mpp(session.active, 0.5)
    np.testing.assert_allclose(drawn.scale, layer.scale)
    np.testing.assert_allclose(drawn.translate, (-0.25, -0.25))
    assert drawn.units == layer.units


def test_a_duplicated_layer_is_no_second_slide(model, small_slide, add_slide) -> None:
    viewer = model
    session = session_of(viewer)
    layer = add_slide(viewer, small_slide)
    viewer.add_image(layer.data, rgb=True, multiscale=True, metadata=layer.metadata)
    assert len(session.slides) == 1


def test_a_removed_slide_is_told_closed_and_replaced(model, small_slide, other_slide, add_slide) -> None:
    viewer = model
    session = session_of(viewer)
    first, second = add_slide(viewer, small_slide), add_slide(viewer, other_slide)
    gone = []
    session.removed.connect(gone.append)
    entry = session.active
    viewer.layers.remove(second)
    assert gone == [entry] and not entry.alive
    assert session.active.layer is first
    with pytest.raises(SlideError):
        entry.slide.read_level(0, 0, 0, 8, 8)


def test_resolution_can_be_given(model, data, add_slide) -> None:
    viewer = model
    layer = add_slide(viewer, data / "slides" / "yb10kx5k.zstd.tiff")
    session = session_of(viewer)
    assert [str(unit) for unit in layer.units] == ["pixel", "pixel"]
    heard = []
    session.slide_changed.connect(heard.append)
    session.set_mpp(session.active, 0.5)
    np.testing.assert_allclose(layer.scale, (0.5, 0.5))
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    assert heard == [session.active]


def test_a_closed_viewer_is_forgotten(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    session = weakref.ref(session_of(viewer))
    viewer.close()
    del viewer
    gc.collect()
    assert session() is None or session().slides == ()


def test_a_slide_is_opened_once(model, small_slide, other_slide, tmp_path) -> None:
    session = session_of(model)
    first, second = session.open(small_slide), session.open(other_slide)
    assert session.active is second and first.slide.path == small_slide
    assert session.open(small_slide) is first and session.active is first and len(session.slides) == 2
    assert session.entry_of(other_slide) is second and session.entry_of(tmp_path / "none.svs") is None
    with pytest.raises(SlideError, match="none"):
        session.open(tmp_path / "none.svs")
    assert session.active is first


def test_explanations_of_many_clicks_are_not_all_kept(model, small_slide, add_slide, monkeypatch) -> None:
    add_slide(model, small_slide)
    session = session_of(model)
    entry, gone = session.active, []
    monkeypatch.setattr("napari_zoommil.viewer.session.KEPT_OF_PARTS", 2)
    session.result_changed.connect(lambda _, key: gone.append(key) if key not in entry.results else None)
    keys = [ResultKey(EXPLANATION, "m", variant=f"grad-cam{n}") for n in range(4)]
    for number, key in enumerate(keys):
        focus = Focus(at=(1.0, number)) if number else WHOLE
        session.keep(entry, key, Explanation("grad-cam", None, None, (), (), focus))
    assert list(entry.results) == [keys[0], *keys[2:]] and gone == [keys[1]]
