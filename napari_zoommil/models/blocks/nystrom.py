"""Nyström attention (Xiong 2021): attention of n tokens through m landmarks, in O(n·m) memory and time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention


class NystromAttention(nn.Module):
    """Multi-head self-attention of the tokens of one bag.

    The n × n softmax of queries and keys is approximated by A1 · A2⁺ · A3: the softmax of queries and
    landmark keys (A1, n × m), of landmark queries and landmark keys (A2, m × m), and of landmark queries and
    keys (A3, m × n). Landmarks are means of consecutive segments of the tokens, which are padded in front
    with zeros to a multiple of m. A depthwise convolution of the values along the tokens is added.

    Neither A1 nor A3 is ever whole in memory.

    Parameters
    ----------
    width : int
        Width of the tokens, a multiple of ``heads``.
    heads : int
    landmarks : int
        m.
    iterations : int
        Iterations of the pseudo-inverse.
    kernel : int
        Length of the convolution, odd.
    dropout : float
        Dropout rate of the output.
    """

    def __init__(
        self,
        width: int = 512,
        heads: int = 8,
        landmarks: int = 256,
        iterations: int = 6,
        kernel: int = 33,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.heads, self.landmarks, self.iterations = heads, landmarks, iterations
        self.scale = (width // heads) ** -0.5
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.nearby = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False)
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, width) → (n, width)."""
        queries, keys, values = self._projected(tokens)
        key_marks, query_marks = self._marks(keys), self._marks(queries)
        inverse = pseudo_inverse(_softmax(query_marks, key_marks), self.iterations)
        gathered = inverse.to(values.dtype) @ _attend(query_marks, keys, values)
        mixed = _attend(queries, key_marks, gathered) + self._convolved(values)
        return self.out(mixed.transpose(0, 1).flatten(1)[-len(tokens) :])

    def row(self, tokens: Tensor, place: int) -> Tensor:
        """The row of one token in A1 · A2⁺ · A3, without the other rows.

        Parameters
        ----------
        tokens : (n, width)
        place : int

        Returns
        -------
        (heads, n)
            How much of each token's value this token takes. An approximation: values can be below 0.
        """
        queries, keys, _ = self._projected(tokens)
        key_marks, query_marks = self._marks(keys), self._marks(queries)
        first = queries.shape[1] - len(tokens)
        inverse = pseudo_inverse(_softmax(query_marks, key_marks), self.iterations)
        own = _softmax(queries[:, first + place, None], key_marks).to(inverse.dtype)
        heads = zip(own @ inverse, query_marks, keys, strict=True)
        # One head at a time, for memory.
        rows = [weight @ _softmax(mark, key).to(weight.dtype) for weight, mark, key in heads]
        return torch.cat(rows)[:, first:]

    def _projected(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled queries, keys and values, each (heads, padded n, width per head)."""
        padded = pad(tokens, (0, 0, -len(tokens) % self.landmarks, 0))
        queries, keys, values = self.project(padded).view(len(padded), 3, self.heads, -1).unbind(1)
        return (queries * self.scale).transpose(0, 1), keys.transpose(0, 1), values.transpose(0, 1)

    def _marks(self, projected: Tensor) -> Tensor:
        """(heads, n, w) → (heads, m, w)."""
        return projected.unflatten(1, (self.landmarks, -1)).mean(2)

    def _convolved(self, values: Tensor) -> Tensor:
        return self.nearby(values[None])[0]


def pseudo_inverse(matrices: Tensor, iterations: int = 6) -> Tensor:
    """Approximate Moore-Penrose inverses, in float32 or wider (Razavi 2014).

    Parameters
    ----------
    matrices : (h, m, m)
        Not negative.
    iterations : int
        Each is of third order.

    Returns
    -------
    (h, m, m)
    """
    with torch.autocast(matrices.device.type, enabled=False):
        given = matrices if matrices.dtype == torch.float64 else matrices.float()
        size = given.abs()
        # One scale for all heads, as in the authors' code.
        found = given.mT / (size.sum(-2).amax() * size.sum(-1).amax())
        identity = torch.eye(given.shape[-1], dtype=given.dtype, device=given.device)
        for _ in range(iterations):
            product = given @ found
            inner = 15 * identity - product @ (7 * identity - product)
            found = found @ (13 * identity - product @ inner) / 4
    return found


def _softmax(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.mT).softmax(-1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(queries · keysᵀ) · values without the softmax in memory."""
    return scaled_dot_product_attention(queries[None], keys[None], values[None], scale=1.0)[0]
