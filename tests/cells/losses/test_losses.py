"""Losses for sparse annotation: the authors' numbers, numbers by hand, their package, and properties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.cells.losses import (
    LOSSES,
    CrossEntropy,
    ExclusiveCrossEntropy,
    Focal,
    WeightedCrossEntropy,
    create_loss,
)
from napari_zoommil.cells.losses.base import Loss
from napari_zoommil.cells.losses.elr import EarlyLearning
from napari_zoommil.cells.losses.schedules import constant
from napari_zoommil.errors import ModelError

GATES = ("foreground", "margin")
DRAWN = {"sampling": constant(1), "reduction": "none"}
"""Every element that is not annotated is drawn, and each keeps its own value."""

EPOCH_50, EPOCH_300 = 50 / 300, 1.0

CASES = {
    "channels": st.sampled_from([1, 2, 4]),
    "shape": st.sampled_from([(3,), (2, 5), (2, 3, 4), (1, 1, 1), (2, 0)]),
    "scale": st.sampled_from([0.1, 3.0, 30.0, 1e4]),
    "progress": st.floats(0, 1),
    "seed": st.integers(0, 999),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(channels: int, shape: tuple[int, ...], scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits (B, C, ...) within ±scale that wants a gradient, and targets (B, ...) of all kinds."""
    generator = seeded(seed)
    logits = scale * (2 * torch.rand(shape[0], channels, *shape[1:], generator=generator) - 1)
    targets = torch.randint(-1, max(2, channels), shape, generator=generator)
    return logits.requires_grad_(), targets


def call(name: str, logits: Tensor, targets: Tensor, progress: float, **options: Any) -> Tensor:
    """A loss by name; one that wants running targets gets those of a model that has seen the batch once."""
    loss = create_loss(name, **options)
    if isinstance(loss, EarlyLearning):
        return loss(logits, targets, progress, ensemble=loss.updated(None, logits))
    return loss(logits, targets, progress, generator=seeded())


def logits_of(probabilities: list[float]) -> Tensor:
    """(N, 1) logits of sigmoid probabilities."""
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64))[:, None].float()


def unannotated(logits: Tensor) -> Tensor:
    return torch.zeros(len(logits), dtype=torch.long)


# The authors' numbers and numbers by hand


PROBABILITIES = [0, 0.05, 0.1, 0.25, 0.4, 0.5, 0.51, 0.75, 0.9, 0.999]


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (EPOCH_300, [0, 0.00760, 0.01674, 0.05009, 0.09322, 0.12935, 0, 0, 0, 0]),
        (EPOCH_50, [0, 0.00760, 0.01674, 0.05009, 0, 0, 0, 0, 0, 0]),
        (0.0, [0] * 10),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_foreground_gate_gives_the_authors_numbers(
    progress: float, expected: list[float], channels: int
) -> None:
    logits = logits_of(PROBABILITIES).clamp(min=-1e4)
    # 0.25 lies on the threshold of epoch 50, where rounding decides.
    logits[3] -= 1e-6
    if channels == 2:
        logits = torch.cat((torch.zeros_like(logits), logits), 1)
    terms = ExclusiveCrossEntropy(**DRAWN)(logits, unannotated(logits), progress)
    np.testing.assert_allclose(terms.numpy(), expected, atol=6e-6)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [  # 0.2 · p^0.1 · −ln(1 − p) where |2p − 1| ≤ 0.5, then 0.25
        (EPOCH_300, [0, 0, 0.052632, 0.093220, 0.129346, 0.174132, 0.261424, 0, 0]),
        (EPOCH_50, [0, 0, 0, 0.093220, 0.129346, 0.174132, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_margin_gate_by_hand(progress: float, expected: list[float], channels: int) -> None:
    logits = logits_of([0.01, 0.24, 0.26, 0.4, 0.5, 0.6, 0.74, 0.76, 0.99])
    if channels == 2:
        logits = torch.cat((torch.zeros_like(logits), logits), 1)
    terms = ExclusiveCrossEntropy(gate="margin", **DRAWN)(logits, unannotated(logits), progress)
    np.testing.assert_allclose(terms.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("gate", "kept"),
    [("foreground", [True, False, True, False]), ("margin", [True, False, False, True])],
)
def test_gates_on_three_classes_by_hand(gate: str, kept: list[bool]) -> None:
    rows = [[0.55, 0.25, 0.2], [0.1, 0.8, 0.1], [0.9, 0.04, 0.06], [0.4, 0.1, 0.5]]
    logits = torch.tensor(rows, dtype=torch.float64).log()
    terms = ExclusiveCrossEntropy(gate=gate, **DRAWN)(logits, unannotated(logits), EPOCH_300)
    weak = [
        0.2 * (1 - row[0]) ** 0.1 * -math.log(row[0]) if keep else 0
        for row, keep in zip(rows, kept, strict=True)
    ]
    np.testing.assert_allclose(terms.numpy(), weak, rtol=1e-9)


@pytest.mark.parametrize(
    ("probability", "share"), [(0.01, 0.139), (0.1, 0.174), (0.25, 0.189), (0.5, 0.2), (0.75, 0.203)]
)
def test_slope_of_kept_background_is_the_published_share_of_cross_entropys(
    probability: float, share: float
) -> None:
    logits = logits_of([probability]).requires_grad_()
    loss = ExclusiveCrossEntropy(threshold=constant(1), **DRAWN)
    (slope,) = torch.autograd.grad(loss(logits, unannotated(logits), 0.5).sum(), logits)
    assert float(slope) / probability == pytest.approx(share, abs=6e-4)


def test_focal_by_hand() -> None:
    logits, targets = logits_of([0.9, 0.9, 0.9]), torch.tensor([1, 0, -1])
    positive, negative = 0.25 * 0.1**2 * -math.log(0.9), 0.75 * 0.9**2 * -math.log(0.1)
    terms = Focal(reduction="none")(logits, targets, 0.0)
    np.testing.assert_allclose(terms.numpy(), [positive, negative, negative], rtol=1e-5)
    unweighted = Focal(alpha=None, reduction="none")(logits, targets, 0.0)
    np.testing.assert_allclose(
        unweighted.numpy(), [positive * 4, negative / 0.75, negative / 0.75], rtol=1e-5
    )


def test_weighted_cross_entropy_spares_all_but_the_unannotated() -> None:
    logits, targets = logits_of([0.3, 0.3, 0.3]), torch.tensor([1, 0, -1])
    terms = WeightedCrossEntropy(reduction="none")(logits, targets, 0.0)
    np.testing.assert_allclose(
        terms.numpy(), [-math.log(0.3), -0.1 * math.log(0.7), -math.log(0.7)], rtol=1e-5
    )


# The authors' package


EPOCHS = (0, 50, 120, 150, 299)


def both(
    oracle: Any,
    loss: Loss,
    scores: Tensor,
    targets: Tensor,
    epoch: int,
    to_oracle: Any,
    oracle_targets: Tensor,
) -> None:
    """Same values and slopes under the same draws."""
    results = []
    for terms_of in (
        lambda given: oracle(to_oracle(given), oracle_targets, epoch=epoch),
        lambda given: loss(given, targets, epoch / 300),
    ):
        given = scores.clone().requires_grad_()
        torch.manual_seed(epoch)
        terms = terms_of(given)
        results.append((terms.detach(), torch.autograd.grad(terms.sum(), given)[0]))
    (theirs, their_slope), (ours, our_slope) = results
    torch.testing.assert_close(ours, theirs.view_as(ours), rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(our_slope, their_slope, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("epoch", EPOCHS)
def test_binary_agrees_with_the_published_package(epoch: int) -> None:
    oracle = pytest.importorskip("ece_loss").BECELoss()
    oracle.set_unannotated_mapping(lambda targets: targets == 0)
    logits, targets = batch(1, (50, 100), 4, epoch)
    targets = targets.clamp(min=0)
    loss = ExclusiveCrossEntropy(reduction="none")
    both(oracle, loss, logits.detach(), targets, epoch, lambda z: torch.sigmoid(z[:, 0]), targets.float())


@pytest.mark.parametrize("epoch", EPOCHS)
def test_classes_agree_with_the_published_package_on_probabilities(epoch: int) -> None:
    oracle = pytest.importorskip("ece_loss").ExclusiveCrossEntropyLoss()
    top_two = oracle.confidence_estimator
    oracle.confidence_estimator = lambda scores: top_two(scores.softmax(1))
    logits, targets = batch(4, (10, 20, 25), 4, epoch)
    targets = targets.clamp(min=0)
    loss = ExclusiveCrossEntropy(gate="margin", reduction="none")
    both(oracle, loss, logits.detach(), targets, epoch, lambda z: z, targets)


# Properties


def reference(
    logits: NDArray[np.float64], targets: NDArray[np.int64], threshold: float, gate: str
) -> NDArray[np.float64]:
    """Exclusive cross-entropy without sampling, one element (C,) after another."""
    out = np.zeros(targets.shape)
    for place in np.ndindex(targets.shape):
        odds = np.exp(logits[(place[0], slice(None), *place[1:])])
        if len(odds) == 1:
            odds = np.array([1.0, odds[0]])
        shares = odds / odds.sum()
        low, high = np.sort(shares)[-2:]
        confident = high - low if gate == "margin" else shares[1:].sum()
        nats = -np.log(shares[max(targets[place], 0)])
        if targets[place] != 0:
            out[place] = nats
        elif confident <= threshold:
            out[place] = 0.2 * shares[1:].sum() ** 0.1 * nats
    return out


@given(
    channels=CASES["channels"],
    shape=CASES["shape"],
    gate=st.sampled_from(GATES),
    threshold=st.floats(0, 1),
    seed=CASES["seed"],
)
@settings(deadline=None, max_examples=60)
def test_agrees_with_a_reference_in_numpy(
    channels: int, shape: tuple[int, ...], gate: str, threshold: float, seed: int
) -> None:
    logits, targets = batch(channels, shape, 5, seed)
    loss = ExclusiveCrossEntropy(gate=gate, threshold=constant(threshold), **DRAWN)
    terms = loss(logits.double(), targets, 0.5)
    expected = reference(logits.detach().double().numpy(), targets.numpy(), threshold, gate)
    np.testing.assert_allclose(terms.detach().numpy(), expected, rtol=1e-9)


@given(name=st.sampled_from(sorted(LOSSES)), **CASES)
@settings(deadline=None, max_examples=200)
def test_losses_and_slopes_are_finite(
    name: str, channels: int, shape: tuple[int, ...], scale: float, progress: float, seed: int
) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        logits, targets = batch(channels, shape, scale, seed)
        logits = logits.detach().to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            value = call(name, logits, targets, progress)
        value.backward()
        assert value.dtype == torch.float32 and torch.isfinite(value)
        assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("target", [-1, 0, 1])
def test_slopes_are_finite_where_cross_entropy_is_nothing(name: str, channels: int, target: int) -> None:
    extremes = torch.tensor([-1e4, -100.0, -17.5, -0.0, 17.5, 100.0, 1e4])
    logits = torch.stack([extremes, *[-extremes] * (channels - 1)], 1).requires_grad_()
    for sampling in ({"sampling": constant(1)}, {}) if name.startswith("ece") else ({},):
        value = call(name, logits, torch.full((7,), target), 1.0, **sampling)
        (slope,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value) and torch.isfinite(slope).all()


@given(gate=st.sampled_from(GATES), **CASES)
@settings(deadline=None, max_examples=100)
def test_what_is_known_counts_as_in_cross_entropy(
    gate: str, channels: int, shape: tuple[int, ...], scale: float, progress: float, seed: int
) -> None:
    logits, targets = batch(channels, shape, scale, seed)
    terms = ExclusiveCrossEntropy(gate=gate, reduction="none")(logits, targets, progress, generator=seeded())
    flat = logits.movedim(1, -1)
    plain = (
        F.binary_cross_entropy_with_logits(flat[..., 0], targets.clamp(min=0).float(), reduction="none")
        if channels == 1
        else -flat.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    )
    known = targets != 0
    torch.testing.assert_close(terms[known], plain[known])
    assert (terms[~known] <= 0.2 * plain[~known] + 1e-6).all()


@given(gate=st.sampled_from(GATES), **CASES)
@settings(deadline=None, max_examples=50)
def test_switched_off_it_is_cross_entropy(
    gate: str, channels: int, shape: tuple[int, ...], scale: float, progress: float, seed: int
) -> None:
    logits, targets = batch(channels, shape, scale, seed)
    off = ExclusiveCrossEntropy(
        gate=gate, threshold=constant(1), sampling=constant(1), weight=1, exponent=0, reduction="none"
    )
    plain = CrossEntropy(reduction="none")(logits, targets, progress)
    torch.testing.assert_close(off(logits, targets, progress), plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_mean_is_over_all_elements(name: str) -> None:
    logits, targets = batch(3, (2, 5, 7), 3, 1)
    terms = call(name, logits, targets, 0.6, reduction="none")
    assert terms.shape == targets.shape
    torch.testing.assert_close(call(name, logits, targets, 0.6), terms.mean())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_output_may_keep_its_channel_in_the_targets(name: str) -> None:
    logits, targets = batch(1, (2, 5, 7), 3, 1)
    terms = call(name, logits, targets[:, None], 0.6, reduction="none")
    assert terms.shape == logits.shape
    torch.testing.assert_close(terms[:, 0], call(name, logits, targets, 0.6, reduction="none"))


def test_boxes_without_a_channel_have_one_output_each() -> None:
    logits, targets = batch(1, (2, 9), 3, 1)
    loss = CrossEntropy()
    torch.testing.assert_close(loss(logits[:, 0], targets, 0.5), loss(logits, targets, 0.5))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.float32])
def test_targets_of_any_dtype(dtype: torch.dtype) -> None:
    for channels in (1, 3):
        logits, targets = batch(channels, (2, 9), 3, 1)
        loss = ExclusiveCrossEntropy(sampling=constant(1))
        torch.testing.assert_close(loss(logits, targets.to(dtype), 0.5), loss(logits, targets, 0.5))


def test_a_seed_gives_its_loss_again() -> None:
    logits, targets = batch(1, (4, 500), 1, 3)
    own = [ExclusiveCrossEntropy(generator=seeded(5))(logits, targets, 0.7) for _ in range(2)]
    assert own[0] == own[1]
    loss = ExclusiveCrossEntropy(generator=seeded(6))
    assert loss(logits, targets, 0.7, generator=seeded(5)) == own[0]
    assert loss(logits, targets, 0.7) != own[0]


def test_the_schedule_draws_its_share() -> None:
    logits = torch.full((1, 1, 40_000), -1.0)
    loss = ExclusiveCrossEntropy(sampling=constant(0.3), reduction="none", generator=seeded())
    kept = loss(logits, torch.zeros(1, 40_000), 1.0) > 0
    assert float(kept.float().mean()) == pytest.approx(0.3, abs=0.01)


# Names and what is wrong with them


def test_options_reach_the_loss() -> None:
    assert create_loss("ece-margin", weight=0.5) == ExclusiveCrossEntropy(gate="margin", weight=0.5)
    assert create_loss("weighted-ce") == WeightedCrossEntropy(unannotated_weight=0.1)
    assert create_loss("focal") == Focal(alpha=0.25, gamma=2)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("dice", {}, "'dice'.*ce, weighted-ce, focal, ece, ece-margin, elr-cifar10"),
        ("ece", {"gate": "both"}, "'both'.*foreground, margin"),
        ("ce", {"reduction": "sum"}, "'sum'.*mean, none"),
        ("ce", {"gamma": 2}, "ce cannot be built.*gamma"),
    ],
)
def test_unknown_names_and_options(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        create_loss(name, **options)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [((2, 3, 4), (2, 5)), ((2, 1, 4), (4, 2)), ((2, 3, 4), (2, 2, 4)), ((4,), (5,)), ((), (1,))],
)
def test_shapes_that_do_not_fit(logits: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="do not fit"):
        CrossEntropy()(torch.zeros(logits), torch.zeros(targets), 0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("channels", [1, 4])
def test_a_gpu_says_the_same(name: str, channels: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    logits, targets = batch(channels, (2, 40, 50), 6, 2)
    here = call(name, logits, targets, 0.6)
    there = call(name, logits.cuda(), targets.cuda(), 0.6)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-6)
