from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.augmentation import Placement
from napari_zoommil.cells.windows import (
    CORE,
    Window,
    WindowPlan,
    classes_of,
    hold_out,
    plan_windows,
    window_of_instances,
    window_origins,
)
from napari_zoommil.slides import Slide

DISC = CellClass("disc", (0, 0, 255), 10.0)


def planned(slide: Slide, points: Points, size: int, rim: int = 0) -> WindowPlan:
    """At 1 µm/px."""
    return plan_windows(points, slide.shape, slide.resolution(), 1.0, size, rim)


@pytest.fixture
def marked(discs: tuple[Path, np.ndarray]) -> tuple[Path, Points]:
    """Twelve of the discs, a class without a point, and a complete region around the first disc."""
    path, centres = discs
    points = Points(classes=[CellClass("other", (9, 9, 9)), DISC])
    points.add(centres[::4], 2)
    y, x = centres[0]
    points.add_complete([(y - 40, x - 40), (y - 40, x + 40), (y + 40, x + 40), (y + 40, x - 40)])
    return path, points


def test_windows_are_counted_without_reading_and_read_one_by_one(
    marked: tuple[Path, Points], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, points = marked
    read, real = [], Slide.read
    monkeypatch.setattr(Slide, "read", lambda *given: read.append(1) or real(*given))
    with Slide.open(path) as slide:
        plan = planned(slide, points, 64)
        assert len(plan) > 1 and not read
        windows = plan.read(slide)
        for count in (1, 2):
            assert next(windows).shape == (64, 64) and len(read) == count
        assert len(list(windows)) == len(plan) - 2


def test_points_off_the_slide_show_nothing_and_make_no_class(marked: tuple[Path, Points]) -> None:
    path, points = marked
    with Slide.open(path) as slide:
        before = planned(slide, points, 64)
        points.add([(-5.0, 10.0), (5.0, 800.0)], 1)
        after = planned(slide, points, 64)
        assert after.origins == before.origins and after.labels.tolist() == [1] * 12
        assert classes_of(points, slide.shape) == (DISC,)
        points.add((5.0, 799.0), 1)
        assert [one.name for one in classes_of(points, slide.shape)] == ["other", "disc"]
        assert planned(slide, points, 64).labels.tolist() == [2] * 12 + [1]
        assert not planned(slide, Points(), 64).origins


def test_windows_show_every_point_and_region(marked: tuple[Path, Points]) -> None:
    path, points = marked
    with Slide.open(path) as slide:
        windows = list(planned(slide, points, 64).read(slide))
    assert len(windows) < 12 + 2
    for window in windows:
        assert window.image.shape == (64, 64, 3) and window.dense.shape == window.complete.shape == (64, 64)
        for box in window.boxes:
            y, x = ((box[:2] + box[2:]) / 2).astype(int)
            assert window.dense[y, x] == 1 and window.image[y, x, 1] < 120
            np.testing.assert_allclose(box[2:] - box[:2], 10)
        known = (window.image[..., 1] < 120) & (window.dense == -1)
        assert known.mean() < 0.02, "what is declared background is no disc"
    assert sum(window.complete.sum() for window in windows) >= 40 * 40
    background = np.concatenate([window.dense[window.complete] for window in windows])
    assert set(np.unique(background)) == {-1, 1}
    elsewhere = np.concatenate([window.dense[~window.complete] for window in windows])
    assert set(np.unique(elsewhere)) == {0, 1}


def test_a_rim_lies_around_what_is_shown(marked: tuple[Path, Points]) -> None:
    path, points = marked
    with Slide.open(path) as slide:
        plain = list(planned(slide, points, 64).read(slide))
        rimmed = list(planned(slide, points, 64 + 2 * 20, 20).read(slide))
    for one, other in zip(plain, rimmed, strict=True):
        assert other.shape == (104, 104) and other.inner.origin == one.origin
        for name in ("image", "dense", "boxes", "labels", "complete"):
            np.testing.assert_allclose(getattr(other.inner, name), getattr(one, name), err_msg=name)
    trained = [hold_out(windows, 3, 0)[0] for windows in (plain, rimmed)]
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one.dense, other.inner.dense, "a rim shows nothing to be held out")


def test_training_knows_nothing_of_what_is_held_out(marked: tuple[Path, Points]) -> None:
    path, points = marked
    with Slide.open(path) as slide:
        plan = planned(slide, points, 128)
        windows = list(plan.read(slide))
    assert plan.held_out == round(0.2 * len(plan)) > 0
    training, watching = hold_out(windows, plan.held_out, 0)
    assert len(watching) == plan.held_out and training
    seen = np.zeros((600, 700), bool)
    for window in watching:
        y, x = window.origin
        seen[y + 100 : y + 228, x + 100 : x + 228] = True
    for window in training:
        y, x = window.origin
        part = seen[y + 100 : y + 228, x + 100 : x + 228]
        assert not window.dense[part].any() and not window.complete[part].any() and window.dense.any()
        for box in window.boxes:
            assert not part[tuple(((box[:2] + box[2:]) / 2).astype(int))]
    assert hold_out(windows, 0, 0)[1] == []


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=1, max_size=60))
def test_origins_cover_all_places_with_few_windows(places: list[tuple[int, int]]) -> None:
    origins = window_origins(places, [], 100)
    assert 1 <= len(origins) <= len(set(places))
    middles = np.array(origins) + 50
    distance = np.abs(np.array(places)[:, None] - middles[None]).max(2)
    assert (distance.min(1) <= 50 * CORE + 0.5).all()


def test_a_large_region_is_tiled() -> None:
    region = np.array([[0.0, 0.0], [0.0, 300.0], [250.0, 300.0], [250.0, 0.0]])
    origins = window_origins([(10.0, 10.0)], [region], 100)
    covered = np.zeros((250, 300), bool)
    for y, x in origins:
        covered[max(y, 0) : y + 100, max(x, 0) : x + 100] = True
    assert covered.all() and len(origins) == 9


@pytest.fixture
def window() -> Window:
    instances = np.zeros((40, 60), np.uint16)
    instances[5:15, 10:30], instances[30:40, 50:60] = 3, 7
    image = (instances[..., None] * 20 + np.zeros(3)).astype(np.uint8)
    return window_of_instances(image, instances)


@given(
    placement=st.builds(Placement, st.integers(0, 3), st.tuples(st.booleans(), st.booleans()), st.booleans())
)
def test_boxes_turn_with_the_pixels(placement: Placement) -> None:
    instances = np.zeros((40, 60), np.uint16)
    instances[5:15, 10:30], instances[30:40, 50:60] = 3, 7
    given = window_of_instances(np.zeros((40, 60, 3), np.uint8), instances)
    turned = given.placed(placement)
    filled = np.zeros(turned.shape, np.int64)
    for y0, x0, y1, x1 in turned.boxes.astype(int):
        filled[y0:y1, x0:x1] = 1
    np.testing.assert_array_equal(turned.dense, filled)


def test_a_crop_keeps_what_is_centred_in_it(window: Window) -> None:
    part = window.cropped(0, 5, 24)
    assert part.boxes.tolist() == [[5, 5, 15, 25]] and part.dense.sum() == 10 * 19
    assert part.image.shape == (24, 24, 3)


def test_instances_that_are_not_kept_are_not_annotated(window: Window) -> None:
    instances = np.where(window.dense > 0, 3, 0).astype(np.uint16)
    instances[30:, 50:] = 7
    sparse = window_of_instances(window.image, instances, keep=[7], complete=True)
    assert (sparse.dense[5:15, 10:30] == 0).all() and (sparse.dense[30:, 50:] == 1).all()
    assert sparse.dense[0, 0] == -1 and len(sparse.boxes) == 1
