from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.io import imread
from torch import Tensor
from torch.utils.data import default_collate

from napari_zoommil.cells.boxes import anchor_boxes, instance_boxes, iou_matrix, point_boxes
from napari_zoommil.cells.losses import CrossEntropy, ExclusiveCrossEntropy
from napari_zoommil.cells.outputs import BoxOutput, class_probabilities, output_channels
from napari_zoommil.cells.targets import (
    BoxTargets,
    assign_boxes,
    detection_loss,
    disc_targets,
    instance_targets,
    nested_subset,
    region_mask,
)
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.errors import ModelError


def test_one_class_has_one_channel_and_more_have_a_background() -> None:
    assert [output_channels(classes) for classes in (1, 2, 5)] == [1, 3, 6]
    single = class_probabilities(torch.tensor([[[0.0, 2.0]]]))
    torch.testing.assert_close(single, torch.tensor([[[0.5, 0.880797]]]))
    logits = torch.randn(2, 4, 3, 5)
    several = class_probabilities(logits)
    assert several.shape == (2, 3, 3, 5)
    torch.testing.assert_close(several.sum(1), 1 - logits.softmax(1)[:, 0])


def slow_discs(points: list, labels: list, radii: list, shape: tuple[int, int]) -> np.ndarray:
    target = np.zeros(shape, int)
    for i in range(shape[0]):
        for j in range(shape[1]):
            reached = [
                (distance, number)
                for number, (y, x) in enumerate(points)
                if (distance := np.hypot(i + 0.5 - y, j + 0.5 - x)) <= radii[number]
            ]
            if reached:
                target[i, j] = labels[min(reached)[1]]
    return target


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_every_pixel_belongs_to_the_nearest_point_that_reaches_it(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points, diameters = rng.uniform(-5, 30, (count, 2)), rng.uniform(1, 14, count)
    labels = rng.integers(1, 4, count)
    found = disc_targets(points, labels, diameters, (20, 25), gap=False)
    expected = slow_discs(points.tolist(), labels.tolist(), (diameters / 2).tolist(), (20, 25))
    np.testing.assert_array_equal(found, expected)


def test_only_complete_regions_have_a_known_background() -> None:
    complete = region_mask([[(0, 0), (0, 6), (12, 6), (12, 0)]], (12, 12))
    assert complete[:, :6].all() and not complete[:, 6:].any()
    target = disc_targets([(6, 6)], [2], 4, (12, 12), complete)
    assert set(target[:, :6].ravel()) == {-1, 2} and set(target[:, 6:].ravel()) == {0, 2}
    assert (target == 2).sum() == 12  # 4×4 px without its corners
    assert target[5, 4] == 2 and target[4, 4] == -1 and target[4, 7] == 0


def test_touching_discs_leave_one_pixel_between_them() -> None:
    points, labels = [(8, 6), (8, 14)], [1, 1]
    for complete, between in ((False, 0), (True, -1)):
        target = disc_targets(points, labels, 10, (16, 20), complete)
        assert target[8].tolist().count(1) == 17 and target[8, 10] == between
        np.testing.assert_array_equal(target[8, 1:19] == 1, np.arange(1, 19) != 10)
    joined = disc_targets(points, labels, 10, (16, 20), gap=False)
    assert (joined[8, 1:19] == 1).all()
    apart = disc_targets([(8, 5), (8, 15)], labels, 8, (16, 20))
    np.testing.assert_array_equal(apart, disc_targets([(8, 5), (8, 15)], labels, 8, (16, 20), gap=False))


def test_without_a_point_nothing_is_known_but_complete_regions() -> None:
    assert not disc_targets([], [], 10, (4, 5)).any()
    assert (disc_targets([], [], 10, (4, 5), True) == -1).all()


def test_a_dropped_instance_is_not_annotated_and_never_background() -> None:
    instances = np.array([[1, 1, 0, 5], [0, 2, 2, 5], [0, 0, 0, 0]], np.uint16)
    np.testing.assert_array_equal(
        instance_targets(instances, keep=[1, 5], classes={1: 3, 5: 1}, complete=True),
        [[3, 3, -1, 1], [-1, 0, 0, 1], [-1, -1, -1, -1]],
    )
    np.testing.assert_array_equal(instance_targets(instances), instances > 0)
    assert not instance_targets(instances, keep=[]).any()
    np.testing.assert_array_equal(
        instance_targets(instances, keep=[1, 2, 5], gap=True, complete=True),
        [[1, 1, -1, 1], [-1, -1, 1, -1], [-1, -1, -1, -1]],
    )


def test_a_smaller_share_of_the_instances_lies_within_a_larger_one(data: Path) -> None:
    path = sorted((data / "nuclei" / "dsb2018").glob("*_instances.png"))[0]
    instances = imread(path)
    numbers = instance_boxes(instances)[1]
    shares = [nested_subset(numbers, share, seed=1) for share in (0.1, 0.3, 0.6, 1.0)]
    for smaller, larger in pairwise(shares):
        assert set(smaller) < set(larger)
    assert [len(share) for share in shares] == [round(s * len(numbers)) for s in (0.1, 0.3, 0.6, 1.0)]
    assert set(nested_subset(numbers, 0.3, 2)) != set(shares[1])
    target = instance_targets(instances, shares[1].tolist())
    np.testing.assert_array_equal(target == 1, np.isin(instances, shares[1]))


ANCHORS = ((10.0, 10.0), (30.0, 20.0))


def test_the_cell_of_the_centre_answers_with_the_anchor_that_fits() -> None:
    boxes = [(1, 10, 13, 21), (40, 8, 68, 30)]  # centres (7, 15.5), (54, 19); sizes 12×11, 28×22
    targets = assign_boxes(boxes, [1, 2], (64, 64), ANCHORS)
    first, second = (0 * 8 + 1) * 2 + 0, (6 * 8 + 2) * 2 + 1
    assert np.flatnonzero(targets.labels).tolist() == [first, second]
    assert targets.labels[[first, second]].tolist() == [1, 2]
    np.testing.assert_allclose(targets.offsets[first], [7 / 8, 7.5 / 8, np.log(1.2), np.log(1.1)], rtol=1e-6)
    np.testing.assert_allclose(
        targets.offsets[second], [6 / 8, 3 / 8, np.log(28 / 30), np.log(22 / 20)], rtol=1e-6
    )
    assert targets.trained[[first, second]].all()


def test_cells_that_compete_for_a_grid_cell_take_its_anchors_in_turn() -> None:
    boxes = point_boxes([(4, 4), (4.5, 5), (3, 3)], [10, 11, 20])
    targets = assign_boxes(boxes, [1, 2, 3], (8, 8), ANCHORS)
    # 10 px fits the first anchor best; then of the others, 11 px fits best but finds only the second free.
    assert targets.labels.tolist() == [1, 2]
    assert not assign_boxes(point_boxes([(-1, 4), (4, 8.5)], 10), [1, 1], (8, 8), ANCHORS).labels.any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans())
def test_boxes_are_assigned_ignored_background_or_unknown(seed: int, count: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes = point_boxes(rng.uniform(0, 60, (count, 2)), rng.uniform(6, 30, count))
    complete = np.ones((61, 50), bool) if whole else np.arange(50) < np.full((61, 1), 20)
    labels, _, trained = assign_boxes(boxes, np.ones(count, int), (61, 50), ANCHORS, complete)
    priors = anchor_boxes((61, 50), ANCHORS, 8)
    middles = (priors[:, :2] + priors[:, 2:]) / 2
    overlap = iou_matrix(priors, boxes).max(1, initial=0)
    for label, used, middle, near in zip(labels, trained, middles, overlap, strict=True):
        if label > 0:
            assert used
            continue
        assert used == (near <= 0.5)
        inside = middle[0] < 61 and middle[1] < (50 if whole else 20)
        assert label == (-1 if inside else 0)


def cross_entropy(logits: Tensor, targets: Tensor, progress: float) -> Tensor:
    return torch.nn.functional.softplus(torch.where(targets > 0, -logits[:, 0], logits[:, 0]))


def test_the_loss_is_the_weighted_sum_of_three_means() -> None:
    logits = torch.tensor([[[0.3, -1.0, 2.0, 0.5]], [[1.0, 0.0, -2.0, 3.0]]])
    offsets = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    output = BoxOutput(logits, torch.zeros(2, 4, 4), offsets)
    targets = BoxTargets(
        torch.tensor([[1, 0, -1, 0], [0, 0, 1, 0]]),
        torch.full((2, 4, 4), 0.25),
        torch.tensor([[True, True, True, False], [True, True, True, False]]),
    )
    p = logits[:, 0].sigmoid().double().numpy()
    objects = np.mean([-np.log(p[0, 0]), -np.log(p[1, 2])])
    background = np.mean(-np.log(1 - np.array([p[0, 1], p[0, 2], p[1, 0], p[1, 1]])))
    error = (offsets - 0.25).square().sum(-1)
    regression = float(error[0, 0] + error[1, 2]) / 2
    expected = regression + objects + 10 * background
    assert float(detection_loss(output, targets, cross_entropy, 0.0)) == pytest.approx(expected, rel=1e-5)
    weighted = detection_loss(output, targets, cross_entropy, 0.0, 2.0, 3.0, 0.5)
    assert float(weighted) == pytest.approx(0.5 * regression + 2 * objects + 3 * background, rel=1e-5)


def test_a_window_without_a_cell_has_a_finite_loss_and_gradient() -> None:
    model = YOLLO(width=2)
    targets = default_collate([assign_boxes([], [], (32, 40), model.anchors, True)] * 2)
    loss = detection_loss(model(torch.rand(2, 3, 32, 40)), targets, CrossEntropy(reduction="none"), 0.0)
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_loss_that_reduces_is_refused() -> None:
    model = YOLLO(width=2)
    targets = default_collate([assign_boxes([], [], (16, 16), model.anchors)])
    with pytest.raises(ModelError, match="reduction='none'"):
        detection_loss(model(torch.rand(1, 3, 16, 16)), targets, CrossEntropy(), 0.0)


@pytest.mark.parametrize("classes", [1, 2])
def test_boxes_that_are_ignored_get_no_gradient_and_exclusive_ones_neither(classes: int) -> None:
    model = YOLLO(classes, width=2, anchors=ANCHORS)
    boxes = point_boxes([(20, 20), (44, 30)], [12, 26])
    targets = default_collate([assign_boxes(boxes, [1, classes], (64, 64), model.anchors)])
    output = model(torch.rand(1, 3, 64, 64))
    plain = detection_loss(output, targets, CrossEntropy(reduction="none"), 0.0)
    (gradient,) = torch.autograd.grad(plain, output.scores, retain_graph=True)
    assert not targets.trained.all()
    np.testing.assert_array_equal((gradient != 0).any(1), targets.trained)
    early = detection_loss(output, targets, ExclusiveCrossEntropy(reduction="none"), 0.0)
    (gradient,) = torch.autograd.grad(early, output.scores)
    np.testing.assert_array_equal((gradient != 0).any(1), targets.labels > 0)


def test_a_detector_learns_a_real_tile_from_its_boxes(data: Path) -> None:
    path = sorted((data / "nuclei" / "dsb2018").glob("*_instances.png"))[0]
    pixels = imread(path.with_name(path.name.replace("_instances", "")))[:128, :128, :3]
    boxes, numbers = instance_boxes(np.ascontiguousarray(imread(path)[:128, :128]))
    torch.manual_seed(0)
    model = YOLLO(width=8, anchors=((20.0, 20.0),))
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    targets = default_collate(
        [assign_boxes(boxes, np.ones(len(numbers), int), (128, 128), model.anchors, True)]
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        detection_loss(model(image), targets, CrossEntropy(reduction="none"), 0.0).backward()
        optimiser.step()
    output = model(image)
    assigned = targets.labels[0] > 0
    assert output.scores[0, 0][assigned].median() > 0 > output.scores[0, 0][~assigned].median()
    found = output.boxes[0][assigned].detach().numpy()
    assert np.median(iou_matrix(found, boxes).max(1)) > 0.6
