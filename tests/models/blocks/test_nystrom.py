"""Nyström attention against the product of its three matrices, written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d

from napari_zoommil.models.blocks.nystrom import NystromAttention, pseudo_inverse

COUNTS = (1, 2, 3, 5, 8, 9, 40)
"""Fewer tokens than landmarks, as many, and more, with and without padding."""


def small(heads: int = 2) -> NystromAttention:
    torch.manual_seed(0)
    return NystromAttention(12, heads, landmarks=8, kernel=5, dropout=0.0).double().eval()


def dense(block: NystromAttention, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The output, (n, width), and the n × n product of each head, from loops over heads and segments."""
    count, marks = len(tokens), block.landmarks
    missing = (marks - count % marks) % marks
    padded = torch.cat([tokens.new_zeros(missing, tokens.shape[1]), tokens])
    width = tokens.shape[1] // block.heads
    query, key, value = (padded @ block.project.weight.T).split(tokens.shape[1], 1)
    length = len(padded) // marks
    kernels, found, inner = [], [], []
    for head in range(block.heads):
        q, k = (part[:, head * width : (head + 1) * width] for part in (query / width**0.5, key))
        q_marks = torch.stack([q[i * length : (i + 1) * length].mean(0) for i in range(marks)])
        k_marks = torch.stack([k[i * length : (i + 1) * length].mean(0) for i in range(marks)])
        kernels.append(
            ((q @ k_marks.T).softmax(1), (q_marks @ k_marks.T).softmax(1), (q_marks @ k.T).softmax(1))
        )
    inverses = pseudo_inverse(torch.stack([middle for _, middle, _ in kernels]), block.iterations)
    for head, (left, _, right) in enumerate(kernels):
        v = value[:, head * width : (head + 1) * width]
        product = left @ inverses[head] @ right
        kernel = block.nearby.weight[head].view(1, 1, -1)
        near = conv1d(v.T[:, None], kernel, padding=kernel.shape[2] // 2)[:, 0].T
        found.append(product @ v + near)
        inner.append(product[missing:, missing:])
    return block.out(torch.cat(found, 1)[missing:]), torch.stack(inner)


@pytest.mark.parametrize("count", COUNTS)
def test_output_and_rows_are_those_of_the_whole_product(count: int) -> None:
    block, tokens = small(), torch.randn(count, 12).double()
    expected, product = dense(block, tokens)
    torch.testing.assert_close(block(tokens), expected, atol=1e-10, rtol=1e-10)
    for place in {0, count // 2, count - 1}:
        own, row = block.one(tokens, place)
        torch.testing.assert_close(own, expected[place], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(row, product[:, place], atol=1e-10, rtol=1e-10)


def test_the_pseudo_inverse_approaches_the_inverse_and_stays_in_float32() -> None:
    torch.manual_seed(0)
    matrices = (torch.randn(3, 6, 6).double() + 3 * torch.eye(6)).softmax(-1)
    found = pseudo_inverse(matrices, 20)
    torch.testing.assert_close(found, torch.linalg.pinv(matrices), atol=1e-8, rtol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        half = pseudo_inverse(matrices.bfloat16(), 20)
    assert half.dtype == torch.float32
    residue = (matrices.bfloat16().float() @ half - torch.eye(6)).abs().max()
    assert residue < 1e-3, "products in bfloat16 would leave more"


def test_with_a_landmark_for_each_token_it_is_softmax_attention() -> None:
    torch.manual_seed(0)
    block = NystromAttention(6, 1, landmarks=7, iterations=40, kernel=3, dropout=0.0).double().eval()
    torch.nn.init.normal_(block.project.weight, std=0.6)
    tokens = torch.randn(7, 6).double()
    query, key, _ = (tokens @ block.project.weight.T).split(6, 1)
    exact = (query @ key.T / 6**0.5).softmax(1)
    torch.testing.assert_close(block.one(tokens, 3)[1][0], exact[3], atol=1e-6, rtol=1e-5)


def test_gradients_are_those_of_the_whole_product() -> None:
    block, tokens = small(), torch.randn(21, 12).double().requires_grad_()
    expected = dense(block, tokens)[0]
    for found, same in ((block(tokens), expected), (block.one(tokens, 4)[0], expected[4])):
        asked = [tokens, *block.parameters()]
        for one, two in zip(
            torch.autograd.grad(found.square().sum(), asked),
            torch.autograd.grad(same.square().sum(), asked, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)
