"""Properties of perturbed top-k; small cases are compared with dense references written here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_zoommil.models import topk
from napari_zoommil.models.topk import hard_topk, normalise_scores, perturbed_topk, select

MODES = ("exact", "paper")
CASES = {
    "count": st.integers(2, 30),
    "k": st.integers(1, 29),
    "samples": st.integers(1, 60),
    "sigma": st.sampled_from([0.002, 0.05, 0.5]),
    "seed": st.integers(0, 99),
}
"""Draws where something is left to select: tests skip k ≥ count."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores_of(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, generator=seeded(seed), dtype=torch.float64)


def noise_of(scores: Tensor, samples: int, seed: int) -> Tensor:
    """(S, N): all the noise that a selection with this generator draws."""
    return torch.cat([values.clone() for _, values in topk._Noise(samples, scores, seeded(seed)).chunks()])


def dense_samples(scores: Tensor, k: int, noise: Tensor, sigma: float) -> Tensor:
    """(S, k, N) one-hot selections in position order."""
    chosen = (scores + sigma * noise).topk(k, dim=1).indices.sort(1).values
    return torch.nn.functional.one_hot(chosen, len(scores)).to(scores)


@given(
    count=st.integers(1, 40),
    k=st.integers(1, 50),
    samples=st.integers(1, 60),
    sigma=st.sampled_from([0.0, 0.01, 0.5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_rows_are_distributions_over_an_ascending_union(
    count: int, k: int, samples: int, sigma: float, seed: int
) -> None:
    indicator, union = select(scores_of(count, seed), k, samples, sigma, generator=seeded(seed))
    assert indicator.shape == (min(k, count), len(union))
    torch.testing.assert_close(indicator.sum(1), torch.ones(min(k, count), dtype=indicator.dtype))
    assert (indicator >= 0).all() and (indicator.sum(0) > 0).all()
    assert (union.diff() > 0).all()
    mean_position = indicator @ union.to(indicator)
    assert (mean_position.diff() > 0).all(), "row i is the i-th selected position"


def test_little_noise_gives_the_hard_selection() -> None:
    scores = scores_of(50)
    hard = torch.nn.functional.one_hot(hard_topk(scores, 6), 50).to(scores)
    for sigma in (0.0, 1e-9):
        torch.testing.assert_close(perturbed_topk(scores, 6, 30, sigma), hard)
    indicator, union = select(scores.requires_grad_(), 6, sigma=0)
    assert torch.equal(union, hard_topk(scores, 6)) and not indicator.requires_grad


def test_hard_selection_ascends_by_position() -> None:
    assert hard_topk(torch.tensor([3.0, 1.0, 5.0, 4.0]), 3).tolist() == [0, 2, 3]
    assert hard_topk(torch.tensor([3.0, 1.0]), 9).tolist() == [0, 1]


@pytest.mark.parametrize("k", [6, 100])
def test_selecting_all_is_the_identity(k: int) -> None:
    torch.testing.assert_close(perturbed_topk(scores_of(6), k), torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("mode", MODES)
def test_a_generator_makes_it_reproducible(mode: topk.Mode) -> None:
    results = []
    for seed in (1, 1, 2):
        scores = scores_of(30).requires_grad_()
        dense = perturbed_topk(scores, 5, 20, 0.3, mode, seeded(seed))
        (dense * torch.arange(30)).sum().backward()
        results.append((dense.detach(), scores.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


def test_without_a_generator_the_global_seed_rules() -> None:
    first, second = (torch.manual_seed(3) and perturbed_topk(scores_of(30), 5, 20, 0.3) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, perturbed_topk(scores_of(30), 5, 20, 0.3))


def gradient(
    scores: Tensor, weights: Tensor, k: int, samples: int, sigma: float | None, mode: topk.Mode, seed: int = 1
) -> Tensor:
    scores = scores.clone().requires_grad_()
    (perturbed_topk(scores, k, samples, sigma, mode, seeded(seed)) * weights).sum().backward()
    assert scores.grad is not None
    return scores.grad


def weights_of(k: int, count: int, seed: int = 2) -> Tensor:
    return torch.randn(k, count, generator=seeded(seed), dtype=torch.float64)


def test_exact_gradient_equals_finite_differences() -> None:
    """Truth: central differences of the mean selection under common noise (models of N=12, K=4)."""
    count, k, sigma, step, samples = 12, 4, 0.5, 0.05, 100_000
    scores, weights = scores_of(count), weights_of(k, count)
    noise = torch.randn(samples, count, generator=seeded(7), dtype=torch.float64)

    def value(at: Tensor) -> Tensor:
        chosen = (at + sigma * noise).topk(k, dim=1).indices.sort(1).values
        return weights[torch.arange(k), chosen].sum(1).mean()

    shifts = step * torch.eye(count, dtype=torch.float64)
    truth = torch.stack([value(scores + shift) - value(scores - shift) for shift in shifts]) / (2 * step)
    found = gradient(scores, weights, k, samples, sigma, "exact")
    assert torch.cosine_similarity(found, truth, dim=0) >= 0.995
    assert float(found.norm() / truth.norm()) == pytest.approx(1, abs=0.05)
    diagonal = gradient(scores, weights, k, samples, sigma, "paper")
    assert torch.cosine_similarity(diagonal, truth, dim=0) < 0.95, "the diagonal is biased"


def test_exact_gradient_does_not_see_a_shift_of_all_scores() -> None:
    scores, weights = scores_of(12), weights_of(4, 12)
    exact = gradient(scores, weights, 4, 100_000, 0.5, "exact")
    assert abs(float(exact.sum())) < 0.05 * float(exact.abs().sum())
    diagonal = gradient(scores, weights, 4, 100_000, 0.5, "paper")
    assert abs(float(diagonal.sum())) > 0.2 * float(diagonal.abs().sum()), "the diagonal does see it"
    torch.testing.assert_close(gradient(scores + 3, weights, 4, 100_000, 0.5, "exact"), exact)


@given(gap=st.floats(-1, 1), sigma=st.floats(0.2, 1))
@settings(max_examples=10, deadline=None)
def test_the_better_of_two_has_a_closed_form(gap: float, sigma: float) -> None:
    """P(first is selected) is the normal distribution at gap / (σ√2); its density is the gradient."""
    scores = torch.tensor([gap, 0.0], dtype=torch.float64, requires_grad=True)
    share = perturbed_topk(scores, 1, 50_000, sigma, generator=seeded())
    share[0, 0].backward()
    difference = torch.distributions.Normal(0.0, sigma * 2**0.5)
    at = torch.tensor(gap, dtype=torch.float64)
    assert share[0, 0].item() == pytest.approx(float(difference.cdf(at)), abs=0.012)
    slope = float(difference.log_prob(at).exp())
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([slope, -slope], abs=0.015 / sigma)


@given(**CASES)
@settings(max_examples=40, deadline=None)
def test_exact_gradient_is_the_score_function_with_the_others_as_baseline(
    count: int, k: int, samples: int, sigma: float, seed: int
) -> None:
    assume(k < count)
    scores, weights = scores_of(count, seed), weights_of(k, count, seed)
    noise = noise_of(scores, samples, seed)
    rewards = (dense_samples(scores, k, noise, sigma) * weights).sum((1, 2))
    others = (rewards.sum() - rewards) / (samples - 1) if samples > 1 else torch.zeros(1)
    expected = ((rewards - others) @ noise) / (samples * sigma)
    torch.testing.assert_close(gradient(scores, weights, k, samples, sigma, "exact", seed), expected)


class PublishedTopK(torch.autograd.Function):
    """The dense form of ZoomMIL: one-hot selections are kept and only the diagonal goes back."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, noise: Tensor, k: int, sigma: float) -> Tensor:
        one_hot = dense_samples(scores, k, noise, sigma)
        ctx.sigma = sigma
        ctx.save_for_backward(one_hot, noise)
        return one_hot.mean(0)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        one_hot, noise = ctx.saved_tensors
        expected = (one_hot * noise[:, None]).mean(0) / ctx.sigma
        return (upstream * expected).sum(0), None, None, None


@given(**CASES)
@settings(max_examples=40, deadline=None)
def test_paper_mode_is_the_published_dense_form(
    count: int, k: int, samples: int, sigma: float, seed: int
) -> None:
    """From attention logits through softmax and selection, forward and backward."""
    assume(k < count)
    logits, weights = weights_of(1, count, seed)[0].requires_grad_(), weights_of(k, count, seed + 1)
    noise = noise_of(logits, samples, seed)
    published = PublishedTopK.apply(logits.softmax(0), noise, k, sigma)
    ours = perturbed_topk(normalise_scores(logits, "paper"), k, samples, sigma, "paper", seeded(seed))
    torch.testing.assert_close(ours, published)
    (expected,) = torch.autograd.grad(published, logits, weights)
    (found,) = torch.autograd.grad(ours, logits, weights)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("mode", "sigma"), [("exact", 0.05), ("paper", 0.002)])
def test_each_mode_has_its_noise_and_a_hundred_samples(mode: topk.Mode, sigma: float) -> None:
    scores = normalise_scores(torch.randn(300, generator=seeded(), dtype=torch.float64), mode)
    reference = dense_samples(scores, 20, noise_of(scores, 100, 5), sigma).mean(0)
    torch.testing.assert_close(perturbed_topk(scores, 20, mode=mode, generator=seeded(5)), reference)
    given_all = gradient(scores, reference, 20, 100, sigma, mode)
    torch.testing.assert_close(gradient(scores, reference, 20, 100, None, mode), given_all)


class Reordered(topk._Noise):
    """The noise of the patches in another order."""

    order: Tensor

    def chunks(self) -> Any:
        return ((part, values[:, self.order]) for part, values in super().chunks())


@given(mode=st.sampled_from(MODES), **CASES)
@settings(max_examples=40, deadline=None)
def test_permuting_the_patches_permutes_what_is_selected(
    mode: topk.Mode, count: int, k: int, samples: int, sigma: float, seed: int
) -> None:
    """
    Rows of T follow positions, so T as a whole is not equivariant. How often a patch is selected is,
    and so is the gradient of what depends on that only. Reversing the order turns T around.
    """
    assume(k < count)
    scores, worth = scores_of(count, seed), weights_of(1, count, seed)
    share = perturbed_topk(scores, k, samples, sigma, mode, seeded(seed))
    slope = gradient(scores, worth, k, samples, sigma, mode, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "_Noise", Reordered)
        for order in (torch.randperm(count, generator=seeded(seed)), torch.arange(count).flip(0)):
            patch.setattr(Reordered, "order", order, raising=False)
            other = perturbed_topk(scores[order], k, samples, sigma, mode, seeded(seed))
            torch.testing.assert_close(other.sum(0), share.sum(0)[order])
            found = gradient(scores[order], worth[:, order], k, samples, sigma, mode, seed)
            torch.testing.assert_close(found, slope[order])
        torch.testing.assert_close(other, share.flip(0, 1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("values", [1, 400])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, mode: topk.Mode, values: int) -> None:
    scores, weights = scores_of(12), weights_of(4, 12)
    whole_noise = noise_of(scores, 100, 1)
    whole = gradient(scores, weights, 4, 100, 0.5, mode)
    monkeypatch.setattr(topk, "CHUNK_VALUES", values)
    parts = list(topk._Noise(100, scores, seeded(1)).chunks())
    assert len(parts) > 2
    assert torch.equal(torch.cat([noise for _, noise in parts]), whole_noise)
    torch.testing.assert_close(gradient(scores, weights, 4, 100, 0.5, mode), whole)


@pytest.mark.parametrize("mode", MODES)
def test_memory_is_of_the_selection_not_of_samples_times_scores(mode: topk.Mode) -> None:
    """Every tensor that autograd keeps, and every one the pass makes, is far below S · k · N."""
    from torch.utils._python_dispatch import TorchDispatchMode

    count, k, samples = 20_000, 100, 100
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            tensors = out if isinstance(out, tuple | list) else (out,)
            sizes = [t.untyped_storage().nbytes() for t in tensors if isinstance(t, Tensor)]
            largest = max(largest, *sizes, 0)
            return out

    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    scores = torch.rand(count, generator=seeded()).requires_grad_()
    with Watch(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        indicator, union = select(scores, k, samples, mode=mode, generator=seeded())
        (indicator * union).sum().backward()
    assert scores.grad is not None and scores.grad.abs().sum() > 0
    node: Any = indicator.grad_fn
    kept = [t for owner in (node, node.noise) for t in vars(owner).values() if isinstance(t, Tensor)]
    assert all(t.untyped_storage().nbytes() <= count * 4 for t in kept), "no noise is kept, only its seed"
    limit = 4 * max(topk.CHUNK_VALUES, k * len(union)) * 2
    assert largest <= limit < samples * k * count * 4 / 50
    assert sum(saved) <= samples * k * 16 + k * len(union) * 16


def test_normalised_scores() -> None:
    logits = torch.tensor([2.0, -1.0, 0.5])
    exact = normalise_scores(logits, "exact")
    assert float(exact.min()) == 0 and float(exact.max()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(normalise_scores(logits * 10 + 4, "exact"), exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(normalise_scores(logits, "paper"), logits.softmax(0))
    assert normalise_scores(torch.full((4,), 2.0), "exact").tolist() == [0, 0, 0, 0]


def test_a_better_score_is_learnt() -> None:
    """Ascent on the value of what is selected moves the two valuable patches to the top."""
    worth = torch.tensor([0.0, 1, 0, 0, 1, 0, 0, 0])
    logits = torch.linspace(0.1, -0.1, 8).requires_grad_()
    optimiser = torch.optim.Adam([logits], 0.05)
    for step in range(60):
        optimiser.zero_grad()
        indicator, union = select(normalise_scores(logits, "exact"), 2, sigma=0.3, generator=seeded(step))
        (-(indicator @ worth[union]).sum()).backward()
        optimiser.step()
    assert hard_topk(logits.detach(), 2).tolist() == [1, 4]
