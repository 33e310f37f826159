"""Nyström attention (Xiong 2021): attention of n tokens through m landmarks, in O(n·m) memory and time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad, scaled_dot_product_attention


class NystromAttention(nn.Module):
    """Multi-head self-attention of the tokens of one bag.

    The n × n softmax of queries and keys is approximated by A1 · A2⁺ · A3: the softmax of queries and
    landmark keys (A1, n × m), of landmark queries and landmark keys (A2, m × m), and of landmark queries and
    keys (A3, m × n). Landmarks are means of consecutive segments of the tokens, which are padded in front
    with zeros to a multiple of m. A depthwise convolution of the values along the tokens is added.

    Heads are computed one after the other, and neither A1 nor A3 of a head is held while it is multiplied.

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
        self.margin = kernel // 2
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.nearby = nn.Conv2d(heads, heads, (kernel, 1), padding=(self.margin, 0), groups=heads, bias=False)
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, width) → (n, width)."""
        padded, mixed = self._padded(tokens), []
        for head, (query_marks, key_marks, inverse) in enumerate(zip(*self._landmarks(padded), strict=True)):
            queries, keys, values = linear(padded, self._weight(head).flatten(0, 1)).chunk(3, 1)
            gathered = inverse.to(values.dtype) @ _attend(query_marks, keys, values)
            near = conv2d(values[None], self.nearby.weight[head, None], padding=(self.margin, 0))[0]
            mixed.append(_attend(queries, key_marks, gathered) + near)
        return self.out(torch.cat(mixed, 1)[-len(tokens) :])

    def one(self, tokens: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """The output of one token, without those of the others, and its row in A1 · A2⁺ · A3.

        Parameters
        ----------
        tokens : (n, width)
        place : int

        Returns
        -------
        output : (width,)
        row : (heads, n)
            How much of the value of each token this one takes, without gradients. As an approximation it can
            be below 0.
        """
        padded, mixed, rows = self._padded(tokens), [], []
        first = len(padded) - len(tokens)
        for head, (query_marks, key_marks, inverse) in enumerate(zip(*self._landmarks(padded), strict=True)):
            weight = self._weight(head)
            keys, values = linear(padded, weight[1:].flatten(0, 1)).chunk(2, 1)
            own = _softmax(linear(tokens[place, None], weight[0]), key_marks).to(inverse.dtype) @ inverse
            window = pad(values, (0, 0, self.margin, self.margin))[first + place :][: 2 * self.margin + 1]
            near = self.nearby.weight[head, 0].mT.to(window.dtype) @ window
            mixed.append((own.to(values.dtype) @ _attend(query_marks, keys, values) + near)[0])
            with torch.no_grad():
                rows.append((own @ _softmax(query_marks, keys).to(own.dtype))[0, first:])
        return self.out(torch.cat(mixed)), torch.stack(rows)

    def _padded(self, tokens: Tensor) -> Tensor:
        return pad(tokens, (0, 0, -len(tokens) % self.landmarks, 0))

    def _weight(self, head: int) -> Tensor:
        """(3, width per head, width): the weights of a head's queries, keys and values."""
        weight = self.project.weight
        return weight.view(3, self.heads, -1, weight.shape[1])[:, head]

    def _landmarks(self, padded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys of the landmarks, (heads, m, width per head), and A2⁺, (heads, m, m)."""
        means = padded.unflatten(0, (self.landmarks, -1)).mean(1)  # the projection is linear: means first
        found = self.project(means).view(self.landmarks, 3, self.heads, -1).permute(1, 2, 0, 3)
        queries, keys = found[0], found[1]
        return queries, keys, pseudo_inverse(_softmax(queries, keys), self.iterations)


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
    return (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """``_softmax(queries, keys) @ values`` without the softmax in memory."""
    return scaled_dot_product_attention(queries[None, None], keys[None, None], values[None, None])[0, 0]
