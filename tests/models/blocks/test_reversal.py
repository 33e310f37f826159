from __future__ import annotations

import torch

from napari_zoommil.models.blocks.reversal import reverse_gradient


def test_values_stay_and_gradients_turn() -> None:
    values = torch.randn(3, 2, requires_grad=True)
    factor = torch.tensor([0.0, 0.5, 2.0])[:, None]
    turned = reverse_gradient(values, factor)
    assert torch.equal(turned, values)
    (turned * torch.tensor([1.0, 3.0])).sum().backward()
    torch.testing.assert_close(values.grad, -factor * torch.tensor([1.0, 3.0]))
