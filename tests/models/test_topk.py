"""Properties of perturbed top-k; small cases are compared with dense references written here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_zoommil.models import topk
from napari_zoommil.models.topk import hard_topk, normalise_scores, perturbed_topk, select

MODES = ("exact", "paper")


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


@pytest.mark.parametrize("samples", [1, 7, 100])
def test_indicator_is_the_mean_of_the_selections(samples: int) -> None:
    scores = scores_of(15)
    dense = perturbed_topk(scores, 4, samples, 0.3, generator=seeded(5))
    reference = dense_samples(scores, 4, noise_of(scores, samples, 5), 0.3).mean(0)
    torch.testing.assert_close(dense, reference)


def test_little_noise_gives_the_hard_selection() -> None:
    scores = scores_of(50)
    hard = torch.nn.functional.one_hot(hard_topk(scores, 6), 50).to(scores)
    for sigma in (0.0, 1e-9):
        torch.testing.assert_close(perturbed_topk(scores, 6, 30, sigma), hard)


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


def gradient(scores: Tensor, weights: Tensor, k: int, samples: int, sigma: float, mode: topk.Mode) -> Tensor:
    scores = scores.clone().requires_grad_()
    (perturbed_topk(scores, k, samples, sigma, mode, seeded(1)) * weights).sum().backward()
    assert scores.grad is not None
    return scores.grad


def test_exact_gradient_equals_finite_differences() -> None:
    """Truth: central differences of the mean selection under common noise (models of N=12, K=4)."""
    count, k, sigma, step, samples = 12, 4, 0.5, 0.05, 100_000
    scores, weights = scores_of(count), torch.randn(k, count, generator=seeded(2), dtype=torch.float64)
    noise = torch.randn(samples, count, generator=seeded(7), dtype=torch.float64)

    def value(at: Tensor) -> Tensor:
        chosen = (at + sigma * noise).topk(k, dim=1).indices.sort(1).values
        return weights[torch.arange(k), chosen].sum(1).mean()

    shifts = step * torch.eye(count, dtype=torch.float64)
    truth = torch.stack([value(scores + shift) - value(scores - shift) for shift in shifts]) / (2 * step)
    found = gradient(scores, weights, k, samples, sigma, "exact")
    assert torch.cosine_similarity(found, truth, dim=0) >= 0.99
    assert float(found.norm() / truth.norm()) == pytest.approx(1, abs=0.05)
    diagonal = gradient(scores, weights, k, samples, sigma, "paper")
    assert torch.cosine_similarity(diagonal, truth, dim=0) < 0.95, "the diagonal is biased"


def test_exact_gradient_does_not_see_a_shift_of_all_scores() -> None:
    scores, weights = scores_of(12), torch.randn(4, 12, generator=seeded(2), dtype=torch.float64)
    exact = gradient(scores, weights, 4, 100_000, 0.5, "exact")
    assert abs(float(exact.sum())) < 0.05 * float(exact.abs().sum())
    shifted = gradient(scores + 3, weights, 4, 100_000, 0.5, "exact")
    torch.testing.assert_close(shifted, exact)


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_exact_gradient_is_the_score_function_with_the_others_as_baseline(samples: int) -> None:
    scores, weights = scores_of(10), torch.randn(3, 10, generator=seeded(2), dtype=torch.float64)
    noise = noise_of(scores, samples, 1)
    rewards = (dense_samples(scores, 3, noise, 0.4) * weights).sum((1, 2))
    others = (rewards.sum() - rewards) / (samples - 1) if samples > 1 else torch.zeros(1)
    expected = ((rewards - others) @ noise) / (samples * 0.4)
    torch.testing.assert_close(gradient(scores, weights, 3, samples, 0.4, "exact"), expected)


def test_paper_gradient_is_the_diagonal() -> None:
    scores, weights = scores_of(10), torch.randn(3, 10, generator=seeded(2), dtype=torch.float64)
    noise = noise_of(scores, 40, 1)
    jacobian = torch.einsum("skn,sn->kn", dense_samples(scores, 3, noise, 0.4), noise) / (40 * 0.4)
    torch.testing.assert_close(gradient(scores, weights, 3, 40, 0.4, "paper"), (weights * jacobian).sum(0))


def test_permuting_the_scores_permutes_what_is_selected() -> None:
    """The order inside a selection is by position; how often a patch is selected is not."""
    scores, order = scores_of(9), torch.randperm(9, generator=seeded(4))
    share = perturbed_topk(scores, 3, 60_000, 0.3, generator=seeded(0)).sum(0)
    permuted = perturbed_topk(scores[order], 3, 60_000, 0.3, generator=seeded(1)).sum(0)
    torch.testing.assert_close(permuted, share[order], atol=0.02, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("values", [1, 400])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, mode: topk.Mode, values: int) -> None:
    scores, weights = scores_of(12), torch.randn(4, 12, generator=seeded(2), dtype=torch.float64)
    whole_noise = noise_of(scores, 100, 1)
    whole = gradient(scores, weights, 4, 100, 0.5, mode)
    monkeypatch.setattr(topk, "CHUNK_VALUES", values)
    parts = list(topk._Noise(100, scores, seeded(1)).chunks())
    assert len(parts) > 2
    assert torch.equal(torch.cat([noise for _, noise in parts]), whole_noise)
    torch.testing.assert_close(gradient(scores, weights, 4, 100, 0.5, mode), whole)


def test_backward_draws_the_noise_of_the_forward_pass() -> None:
    """With one sample and no baseline the gradient is the reward times that sample's noise."""
    scores = scores_of(20).requires_grad_()
    noise = topk._Noise(1, scores, seeded(9))
    first, second = ([values.clone() for _, values in noise.chunks()] for _ in range(2))
    assert torch.equal(first[0], second[0])
    indicator, _ = select(scores, 3, 1, 0.5, generator=seeded(9))
    (indicator * 2).sum().backward()
    torch.testing.assert_close(scores.grad, (3 * 2 * first[0] / 0.5)[0])


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
