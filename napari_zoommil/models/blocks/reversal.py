"""Gradient reversal (Ganin 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return -factor * slope, None


def reverse_gradient(values: Tensor, factor: Tensor) -> Tensor:
    """The values themselves; their gradient is multiplied by ``−factor``.

    Parameters
    ----------
    values : Tensor
    factor : Tensor
        Of a shape that broadcasts to that of ``values``.
    """
    reversed_: Tensor = _Reversed.apply(values, factor)
    return reversed_
