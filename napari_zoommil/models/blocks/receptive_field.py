"""Receptive fields of a BagNet: what each of its values sees, and where that lies. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

STEM = 3
"""Edge of the stem's convolution."""


@dataclass(frozen=True)
class Field:
    """What the values of a layer see of the image, if no convolution pads it.

    Attributes
    ----------
    size : int
        Edge of what one value sees, px; the first value sees the image's first px.
    stride : int
        Distance between neighbouring values, px.
    """

    size: int = 1
    stride: int = 1

    def after(self, kernel: int, stride: int) -> Field:
        """That of a convolution on this layer."""
        return Field(self.size + (kernel - 1) * self.stride, self.stride * stride)

    @property
    def offset(self) -> float:
        """Where the square of ``stride`` px around the middle of the first value's field begins, px."""
        return (self.size - self.stride) / 2

    def least(self, values: int = 1) -> int:
        """Edge of the smallest image with so many values on each side, px."""
        return self.size + (values - 1) * self.stride


def fields(kernel3: Sequence[int], blocks: Sequence[int], strides: Sequence[int]) -> tuple[Field, ...]:
    """Of the stem and of each stage.

    Parameters
    ----------
    kernel3 : sequence of int
        Number of leading blocks of each stage with a 3 × 3 convolution.
    blocks : sequence of int
        Blocks of each stage.
    strides : sequence of int
        Stride of the first block of each stage.
    """

    def stage(before: Field, of: tuple[int, int, int]) -> Field:
        wide, count, stride = of
        for number in range(count):
            before = before.after(3 if number < wide else 1, 1 if number else stride)
        return before

    stem = Field().after(STEM, 1)
    return tuple(accumulate(zip(kernel3, blocks, strides, strict=True), stage, initial=stem))


def kernels(receptive_field: int, blocks: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """How many leading blocks of each stage have a 3 × 3 convolution, for a receptive field of the network.

    One in each of the first 0 to 4 stages, or all blocks; see ``kernel3`` of :func:`fields`.

    Raises
    ------
    ValueError
        If no such choice has this receptive field.
    """
    stages = len(blocks)
    choices = [(1,) * count + (0,) * (stages - count) for count in range(stages + 1)] + [tuple(blocks)]
    found = {fields(choice, blocks, strides)[-1].size: choice for choice in reversed(choices)}
    if receptive_field not in found:
        raise ValueError(
            f"there is no receptive field of {receptive_field} px with {', '.join(map(str, blocks))} blocks "
            f"and strides of {', '.join(map(str, strides))}; choose one of "
            f"{', '.join(map(str, sorted(found)))}"
        )
    return found[receptive_field]
