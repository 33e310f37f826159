"""Differentiable top-k by perturbation (Cordonnier 2021; Berthet 2020; ZoomMIL, eq. 4 and 5).

The k largest of N scores are selected S times under Gaussian noise; the soft indicator T (k, N) is
the mean of the selections, each sorted by position so that row i is "the i-th selected patch in
raster order". No tensor of size S·k·N is built: the S·k selected positions are sufficient.
T is restricted to the union U of the positions that any sample selected, and the backward pass draws
the noise again from its seed, a few samples at a time. Memory is O(S·k + k·|U| + chunk·N).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Mode = Literal["exact", "paper"]

SIGMA: dict[str, float] = {"exact": 0.05, "paper": 0.002}
"""Standard deviation of the noise for min-max normalised (Cordonnier 2021) and softmax (ZoomMIL) scores."""

CHUNK_VALUES = 1 << 20
"""Most noise values in memory at once."""


def normalise_scores(logits: Tensor, mode: Mode) -> Tensor:
    """(N,) attention logits → scores on the scale that the mode's noise is for."""
    if mode == "paper":
        return torch.softmax(logits, 0)
    low, high = logits.min(), logits.max()
    return (logits - low) / (high - low + 1e-5)


def hard_topk(scores: Tensor, k: int) -> Tensor:
    """(min(k, N),) positions of the largest scores, ascending."""
    return torch.topk(scores, min(k, len(scores)), sorted=False).indices.sort().values


class _Noise:
    """Reproducible standard normal noise, drawn again in chunks of samples."""

    def __init__(self, samples: int, like: Tensor, generator: torch.Generator | None) -> None:
        self.samples, self.like = samples, like.detach()
        seed_source = generator.device if generator is not None else torch.device("cpu")
        self.seed = int(torch.randint(2**62, (), generator=generator, device=seed_source))

    def chunks(self) -> Any:
        """Yields (slice of samples, (chunk, N) noise)."""
        generator = torch.Generator(self.like.device).manual_seed(self.seed)
        # torch's CPU generator fills groups of 16: chunks equal a single draw only in whole groups.
        step = 16 * max(1, CHUNK_VALUES // (16 * max(1, len(self.like))))
        for start in range(0, self.samples, step):
            size = (min(step, self.samples - start), len(self.like))
            noise = torch.randn(size, generator=generator, device=self.like.device, dtype=self.like.dtype)
            yield slice(start, start + len(noise)), noise


class _PerturbedTopK(torch.autograd.Function):
    """scores (N,) → T restricted to the union of selected positions, (k, |U|), and U."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, k: int, noise: _Noise, sigma: float, mode: Mode
    ) -> tuple[Tensor, Tensor]:
        chosen = torch.empty(noise.samples, k, dtype=torch.long, device=scores.device)
        for part, values in noise.chunks():
            top = torch.topk(values.mul_(sigma).add_(scores), k, dim=1, sorted=False).indices
            chosen[part] = top.sort(1).values
        seen = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        seen[chosen.view(-1)] = True
        union = seen.nonzero()[:, 0]
        # Flat index into T of each selection.
        place = (seen.cumsum(0) - 1)[chosen] + len(union) * torch.arange(k, device=scores.device)
        weight = scores.new_full((place.numel(),), 1 / noise.samples)
        indicator = scores.new_zeros(k * len(union)).index_add_(0, place.view(-1), weight).view(k, -1)
        ctx.noise, ctx.sigma, ctx.mode = noise, sigma, mode
        ctx.save_for_backward(chosen, place)
        ctx.mark_non_differentiable(union)
        return indicator, union

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _union: Tensor | None = None) -> tuple[Tensor | None, ...]:
        chosen, place = ctx.saved_tensors
        reward = gradient.take(place)
        out = torch.zeros_like(ctx.noise.like)
        if ctx.mode == "exact":
            _score_function(out, reward.sum(1), ctx.noise)
        else:
            _diagonal(out, reward, chosen, ctx.noise)
        return out / (len(reward) * ctx.sigma), None, None, None, None


def _score_function(out: Tensor, reward: Tensor, noise: _Noise) -> None:
    """Σ_s (c_s − b_s) Z_s with the leave-one-out baseline b_s: unbiased, less variance."""
    samples = len(reward)
    if samples > 1:
        reward = (reward - reward.mean()) * (samples / (samples - 1))
    for part, values in noise.chunks():
        out += reward[part] @ values


def _diagonal(out: Tensor, reward: Tensor, chosen: Tensor, noise: _Noise) -> None:
    """Only the diagonal of the Jacobian, as in the authors' code: Σ_s Σ_k G[k, i] Z_s[i]."""
    for part, values in noise.chunks():
        positions = chosen[part]
        out.index_add_(0, positions.reshape(-1), (reward[part] * values.gather(1, positions)).reshape(-1))


def select(
    scores: Tensor,
    k: int,
    samples: int = 100,
    sigma: float | None = None,
    mode: Mode = "exact",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Perturbed top-k in index form.

    Parameters
    ----------
    scores : (N,)
        Used without normalisation; see :func:`normalise_scores`.
    k : int
        Number selected; at most N.
    samples : int
        S, perturbed copies of the scores.
    sigma : float, optional
        Standard deviation of the noise; 0.05 in ``exact`` and 0.002 in ``paper`` mode by default.
        0 gives the hard top-k without a gradient.
    mode : {"exact", "paper"}
        Gradient: the unbiased score function, or the diagonal as in the published code.
    generator : torch.Generator, optional

    Returns
    -------
    indicator : (min(k, N), U)
        Fraction of samples whose i-th selected position is the u-th of ``union``; rows sum to 1.
    union : (U,) int64
        Positions that any sample selected, ascending. All other columns of T are zero.
    """
    k = min(k, len(scores))
    sigma = SIGMA[mode] if sigma is None else sigma
    if sigma == 0 or k == len(scores):
        union = hard_topk(scores, k)
        return torch.eye(k, dtype=scores.dtype, device=scores.device), union
    indicator, union = _PerturbedTopK.apply(scores, k, _Noise(samples, scores, generator), sigma, mode)
    return indicator, union


def perturbed_topk(
    scores: Tensor,
    k: int,
    samples: int = 100,
    sigma: float | None = None,
    mode: Mode = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """The dense indicator T, (min(k, N), N), for tests and small bags. Parameters as in :func:`select`."""
    indicator, union = select(scores, k, samples, sigma, mode, generator)
    dense = scores.new_zeros(len(indicator), len(scores))
    return dense.index_copy(1, union, indicator)
