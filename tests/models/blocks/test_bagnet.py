"""The network of BagNet: receptive fields, pooling, evidence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.models.blocks.bagnet import BagNet
from napari_zoommil.models.blocks.receptive_field import fields, kernels

SMALL = {"width": 1 / 16, "blocks": (1, 1, 1, 1)}
POOLINGS = ["max", "lse", "lme", "mean", "attention"]

PUBLISHED = {
    3: (0, 0, 0, 0),
    5: (1, 0, 0, 0),
    9: (1, 1, 0, 0),
    17: (1, 1, 1, 0),
    33: (1, 1, 1, 1),
    177: (3, 4, 6, 3),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_receptive_fields_are_the_published(size):
    blocks, strides = (3, 4, 6, 3), (2, 2, 2, 1)
    assert kernels(size, blocks, strides) == PUBLISHED[size]
    assert fields(PUBLISHED[size], blocks, strides)[-1].stride == 8
    if size < 177:
        assert kernels(size, (1, 1, 1, 1), strides) == PUBLISHED[size]


def test_an_impossible_receptive_field_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="3, 5, 9, 17, 25"):
        kernels(33, (1, 1, 1, 1), (2, 2, 1, 1))


@pytest.mark.parametrize(
    ("size", "strides"),
    [(3, (2, 2, 2, 1)), (5, (2, 2, 2, 1)), (9, (2, 2, 2, 1)), (17, (2, 2, 1, 1)), (33, (2, 2, 2, 1))],
)
def test_gradient_of_each_layer_reaches_exactly_its_field(size, strides):
    torch.manual_seed(0)
    net = BagNet(receptive_field=size, strides=strides, norm="batch", **SMALL).eval()
    edge = net.fields[-1].least(4)
    values = image = torch.randn(1, 3, edge, edge + 5, requires_grad=True)
    for layer, field in zip(net.layers().values(), net.fields, strict=True):
        values = layer(values)
        row, column = values.shape[2] - 1, 1
        gradient = torch.autograd.grad(values[0, :, row, column].sum(), image, retain_graph=True)[0]
        seen = gradient.abs().sum((0, 1)).nonzero()
        first, last = seen.min(0).values, seen.max(0).values
        assert first.tolist() == [row * field.stride, column * field.stride]
        assert (last - first + 1).tolist() == [field.size, field.size]
        assert field.offset + field.stride / 2 == field.size / 2  # its middle


def test_the_largest_field_by_its_gradient():
    torch.manual_seed(0)
    net = BagNet(receptive_field=177, width=1 / 16, norm="batch").eval()
    image = torch.randn(1, 3, 193, 193, requires_grad=True)
    places = net.embed(image)
    assert places.shape[2:] == (3, 3)
    seen = torch.autograd.grad(places[0, :, 1, 1].sum(), image)[0].abs().sum((0, 1)).nonzero()
    assert seen.min(0).values.tolist() == [8, 8]
    assert seen.max(0).values.tolist() == [184, 184]


def test_nothing_outside_the_field_changes_a_value():
    torch.manual_seed(0)
    net = BagNet(receptive_field=9, norm="batch", **SMALL).eval()
    image = torch.randn(1, 3, 41, 41)
    before = net.embed(image)
    changed = image.clone()
    changed[..., 16 + 9, :] += 5  # just below what the third row of values sees
    after = net.embed(changed)
    assert torch.equal(before[:, :, 2], after[:, :, 2])
    assert not torch.equal(before[:, :, 3], after[:, :, 3])


@pytest.mark.parametrize("pooling", POOLINGS)
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_evidence_sums_to_the_logits_without_bias(pooling, height, width, seed):
    torch.manual_seed(seed)
    net = BagNet(receptive_field=9, pooling=pooling, norm="batch", classes=3, **SMALL).eval()
    places = torch.randn(2, net.classify.in_features, height, width).relu()
    pooled, added = net.shares(places)
    torch.testing.assert_close(pooled, net.pool(places))
    torch.testing.assert_close(added.sum((2, 3)), pooled)
    evidence = net.evidence(places)
    assert evidence.shape == (2, 3, height, width)
    torch.testing.assert_close(evidence.sum((2, 3)) + net.classify.bias, net.classify(pooled))


def test_only_the_sum_of_exponentials_grows_with_the_number_of_places():
    for pooling in POOLINGS:
        net = BagNet(receptive_field=9, pooling=pooling, **SMALL)
        one = torch.rand(1, net.classify.in_features, 1, 1)
        many = one.expand(-1, -1, 4, 4)
        more = 0 if pooling != "lse" else torch.tensor(16.0).log()
        torch.testing.assert_close(net.pool(many), net.pool(one) + more)


def test_smallest_image():
    for norm, edge in (("instance", 41), ("batch", 33)):
        net = BagNet(norm=norm, **SMALL).eval()
        assert net.least == edge
        net(torch.rand(1, 3, edge, edge))
        with pytest.raises((ValueError, RuntimeError)):
            net(torch.rand(1, 3, edge - 8, edge - 8))


def test_grey_images_and_batches_train():
    torch.manual_seed(0)
    net = BagNet(1, 4, receptive_field=5, norm="batch", pooling="attention", **SMALL)
    logits = net(torch.rand(3, 1, 32, 48))
    assert logits.shape == (3, 4)
    logits.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


def count(**options) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in BagNet(**options).parameters())


def test_parameters():
    counts = {size: count(receptive_field=size) for size in PUBLISHED}
    # 2.3 · 10⁷ of the paper, for every receptive field, which the wider 1 × 1 convolutions make equal.
    assert all(2.2e7 < number < 2.4e7 for number in counts.values()), counts
    assert count(receptive_field=9, compensate=False) < 0.7 * counts[9]
    assert 3.7 < count(width=2) / count() < 4.1


@pytest.mark.parametrize("options", [SMALL, {"width": 1 / 16, "norm": "batch", "receptive_field": 17}])
def test_memory_is_that_of_the_values(options):
    torch.manual_seed(0)
    net, image = BagNet(**options), torch.rand(1, 3, 150, 170)
    held: dict[int, int] = {}

    def hold(one: torch.Tensor) -> torch.Tensor:
        held[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda one: one):
        kept = net(image).sum()
    assert kept.requires_grad
    weights = sum(weight.nbytes for weight in net.parameters())
    values = sum(held.values()) - weights
    told = net.memory(150, 170, graph=True)
    assert 0.9 * values < told < 1.6 * values
    assert net.memory(150, 170) < told
    assert 3.8 < net.memory(600, 680) / net.memory(300, 340) < 4.2
