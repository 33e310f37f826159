from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.cells.boxes import anchor_boxes, size_iou
from napari_zoommil.cells.targets import assign_boxes
from napari_zoommil.cells.yollo import YOLLO, decode, kmeans_anchors
from napari_zoommil.errors import ModelError

ANCHORS = ((12.0, 12.0), (30.0, 20.0))


@pytest.fixture
def model() -> YOLLO:
    torch.manual_seed(0)
    return YOLLO(classes=3, width=4, anchors=ANCHORS).eval()


def test_there_are_seven_convolutions_of_the_stated_widths_and_three_poolings() -> None:
    model = YOLLO()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [32, 64, 128, 256, 256, 128, 5]
    assert [m.kernel_size[0] for m in convolutions] == [3] * 6 + [1]
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 3
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 6
    slopes = {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.1}


@pytest.mark.parametrize(("classes", "channels"), [(1, 1), (2, 3), (5, 6)])
@pytest.mark.parametrize("shape", [(64, 48), (65, 41), (5, 9)])
def test_every_size_gives_the_boxes_of_its_grid(classes: int, channels: int, shape: tuple[int, int]) -> None:
    model = YOLLO(classes, width=2, anchors=ANCHORS).eval()
    scores, boxes, offsets = model(torch.rand(2, 3, *shape))
    count = len(anchor_boxes(shape, ANCHORS, 8))
    assert scores.shape == (2, channels, count)
    assert boxes.shape == offsets.shape == (2, count, 4)


def test_centres_stay_in_their_grid_cell_and_heights_and_widths_are_in_their_places(model: YOLLO) -> None:
    with torch.no_grad():
        model.head.weight.mul_(50)
        boxes = model(torch.rand(1, 3, 64, 96)).boxes[0]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = torch.from_numpy(np.indices((8, 12)).reshape(2, -1).T).repeat_interleave(len(ANCHORS), 0)
    assert ((centres - 8 * cells >= -1e-4) & (centres - 8 * cells <= 8 + 1e-4)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.isfinite().all()


def test_a_head_that_says_nothing_gives_the_anchors(model: YOLLO) -> None:
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    boxes = model(torch.rand(1, 3, 40, 24)).boxes[0]
    np.testing.assert_allclose(boxes.detach().numpy(), anchor_boxes((40, 24), ANCHORS, 8), atol=1e-5)


def test_each_box_has_its_own_channels_of_the_head(model: YOLLO) -> None:
    """The bias of the second anchor moves the boxes and scores of the second anchor."""
    images = torch.rand(1, 3, 32, 32)
    before = model(images)
    with torch.no_grad():
        model.head.bias[8 + 2] += 1.0  # height of anchor 2 (4 + 4 channels per anchor)
        model.head.bias[8 + 4 + 3] += 2.0  # its score of class 3
    after = model(images)
    grown = (after.offsets - before.offsets)[0]
    torch.testing.assert_close(grown[1::2, 2], torch.ones(16))
    assert not grown[0::2].any() and not grown[1::2, [0, 1, 3]].any()
    raised = (after.scores - before.scores)[0]
    torch.testing.assert_close(raised[3, 1::2], torch.full((16,), 2.0))
    assert not raised[3, 0::2].any() and not raised[:3].any()


def test_decoding_undoes_what_the_targets_encode() -> None:
    rng = np.random.default_rng(3)
    centres = rng.permutation(np.indices((6, 9)).reshape(2, -1).T)[:20] * 8 + rng.uniform(0, 8, (20, 2))
    half = rng.uniform(3, 20, (20, 2))
    boxes = np.concatenate([centres - half, centres + half], 1)
    targets = assign_boxes(boxes, np.ones(20, int), (48, 72), ANCHORS)
    priors = torch.as_tensor(anchor_boxes((48, 72), ANCHORS, 8), dtype=torch.float32)
    decoded = decode(torch.from_numpy(targets.offsets), priors)[targets.labels > 0].numpy()
    np.testing.assert_allclose(
        decoded[np.lexsort(decoded.T)], boxes[np.lexsort(boxes.astype(np.float32).T)], atol=1e-3
    )


def test_boxes_cannot_overflow() -> None:
    priors = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    boxes = decode(torch.tensor([[0.5, 0.5, 1e4, -1e4]]), priors)
    assert boxes.isfinite().all() and (boxes[0, 2:] > boxes[0, :2]).all()
    half = decode(torch.tensor([[0.5, 0.5, 0, 0]], dtype=torch.float16), priors + 4001)
    np.testing.assert_array_equal(half.numpy(), priors.numpy() + 4001)


def test_an_image_is_predicted_alike_alone_and_in_a_batch(model: YOLLO) -> None:
    images = torch.rand(3, 3, 40, 40)
    together, alone = model(images), model(images[1:2])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b)


def test_its_configuration_makes_it_again(model: YOLLO) -> None:
    again = YOLLO(**model.config).eval()
    again.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(again(images).boxes, model(images).boxes)


@pytest.mark.parametrize("anchors", [(), ((0.0, 4.0),)])
def test_anchors_that_are_none_are_refused(anchors: tuple) -> None:
    with pytest.raises(ModelError, match="anchor"):
        YOLLO(anchors=anchors)


def test_anchors_are_found_where_the_sizes_crowd() -> None:
    rng = np.random.default_rng(0)
    groups = np.array([(10.0, 10.0), (40.0, 20.0), (20.0, 40.0)])
    sizes = np.concatenate([group * rng.uniform(0.95, 1.05, (50, 2)) for group in groups])
    found = kmeans_anchors(rng.permutation(sizes), 3)
    assert size_iou(groups, found).max(1).min() > 0.95
    assert found[0] == pytest.approx((10, 10), rel=0.05)


def test_more_anchors_fit_no_worse_and_none_is_made_up() -> None:
    sizes = np.random.default_rng(1).uniform(8, 60, (300, 2))
    fit = [size_iou(sizes, kmeans_anchors(sizes, count)).max(1).mean() for count in (1, 2, 4, 8)]
    assert fit == sorted(fit)
    assert kmeans_anchors([(10, 12), (10, 12)], 5) == ((10, 12),)
    with pytest.raises(ModelError, match="annotate a few cells"):
        kmeans_anchors([])
