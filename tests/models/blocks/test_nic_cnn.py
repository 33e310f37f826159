from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_zoommil.errors import ModelError
from napari_zoommil.models.blocks.nic_cnn import STRIDES, NICNet, Padding


def test_the_papers_crop_becomes_one_place() -> None:
    net = NICNet(4, 2, width=3).eval()
    with torch.no_grad():
        found = net.layers(torch.randn(1, 4, 400, 400))
    assert [one.shape[2] for one in found] == [199, 99, 49, 24, 11, 5, 3, 1]
    assert net.smallest == 383


def test_weights_are_those_of_separable_convolutions() -> None:
    net = NICNet(128, 1)
    layer = 128 * 9 + 128 * 128 + 2 * 128
    assert sum(one.numel() for one in net.parameters()) == 9 * layer - 128 * 9 + 128 + 1


def test_a_larger_image_is_the_mean_over_the_crops_in_it() -> None:
    torch.manual_seed(0)
    net = NICNet(3, 2, width=4, strides=(2, 1)).eval()
    assert net.smallest == 7
    image = torch.randn(1, 3, 11, 9)
    crops = [image[..., y : y + 7, x : x + 7] for y in (0, 2, 4) for x in (0, 2)]
    torch.testing.assert_close(net(image)[0], torch.stack([net(one)[0] for one in crops]).mean(0))
    with pytest.raises(ModelError, match="at least 7 × 7 patches, not 7 × 6; choose padding=same"):
        net(torch.randn(1, 3, 7, 6))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_cells_lie_around_what_they_see(padding: Padding) -> None:
    net = NICNet(1, 1, width=1, padding=padding).eval()
    for convolution in net.convolutions:
        depthwise, pointwise = convolution[0], convolution[1]
        nn.init.ones_(depthwise.weight)
        nn.init.ones_(pointwise.weight)
    size = 512
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    for layer, (begin, edge) in zip(net.layers(image), net.cells, strict=True):
        row, column = layer.shape[2] // 2, layer.shape[3] // 2
        seen = torch.autograd.grad(layer[0, 0, row, column], image, retain_graph=True)[0][0, 0]
        rows, columns = (seen.sum(axis).nonzero().flatten().float() for axis in (1, 0))
        middle = [float((one.min() + one.max() + 1) / 2) for one in (rows, columns)]
        assert middle == [begin + (place + 0.5) * edge for place in (row, column)]
        assert edge == size // 2 ** round(torch.tensor(size / edge).log2().item())


def test_same_padding_takes_images_of_any_size() -> None:
    net = NICNet(3, 2, width=4, padding="same").eval()
    assert net.smallest == 1
    assert net(torch.randn(2, 3, 1, 70)).shape == (2, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_batches_of_any_size_train(count: int) -> None:
    net = NICNet(3, 2, width=4, strides=(2, 1)).train()
    before = {name: one.clone() for name, one in net.named_buffers()}
    net(torch.randn(count, 3, 7, 7)).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in net.parameters())
    dense = "dense.1.running_mean"
    assert torch.equal(net.get_buffer(dense), before[dense]) == (count == 1)
    assert not torch.equal(
        net.get_buffer("convolutions.0.2.running_mean"), before["convolutions.0.2.running_mean"]
    )


def test_dropout_leaves_out_whole_channels() -> None:
    torch.manual_seed(0)
    net = NICNet(3, 1, width=200, strides=STRIDES[:1], dropout=0.2).train()
    layer = net.layers(torch.randn(2, 3, 9, 9))[0]
    gone = (layer == 0).flatten(2).all(2)
    assert 0.1 < gone.float().mean() < 0.3
    assert (layer[~gone] != 0).all()
