from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.maps.evidence import leave_one_out


def left_out(logits: np.ndarray, made: np.ndarray, row: int) -> np.ndarray:
    """(C,) pooled without a patch; ``made`` (C, n) is what the classifier makes of each."""
    kept = np.delete(np.arange(len(logits)), row)
    shares = np.exp(logits[kept] - logits[kept].max())
    return made[:, kept] @ (shares / shares.sum())


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=20),
    st.integers(0, 2**31),
)
def test_it_is_the_pooling_without_the_patch(attention: list[float], seed: int) -> None:
    logits = np.array(attention, np.float64)
    made = np.random.default_rng(seed).normal(size=(3, len(logits)))
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    found = leave_one_out(logits, made * shares)
    whole = made @ shares
    for row in range(len(logits)):
        np.testing.assert_allclose(found[:, row], whole - left_out(logits, made, row), atol=1e-5)


def test_below_the_average_speaks_against_though_its_evidence_is_positive() -> None:
    found = leave_one_out(np.zeros(3, np.float32), np.array([[1.0, 2.0, 6.0]], np.float32) / 3)
    np.testing.assert_allclose(found, [[3 - 4, 3 - 3.5, 3 - 1.5]], rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_without_another_patch_there_is_nothing_to_compare_with(count: int) -> None:
    found = leave_one_out(np.zeros(count, np.float32), np.ones((2, count), np.float32))
    assert found.shape == (2, count) and np.isnan(found).all()


def test_each_output_may_have_an_attention_of_its_own() -> None:
    rng = np.random.default_rng(0)
    logits, evidence = rng.normal(size=(2, 3, 7)).astype(np.float32)
    alone = [leave_one_out(one, own[None])[0] for one, own in zip(logits, evidence, strict=True)]
    np.testing.assert_array_equal(leave_one_out(logits, evidence), alone)


def test_what_is_pooled_with_others_counts_them() -> None:
    """Patches of other magnifications stand in the same softmax."""
    rng = np.random.default_rng(1)
    logits, evidence = rng.normal(size=(1, 9)).astype(np.float32), rng.normal(size=(2, 9)).astype(np.float32)
    rest = np.log(np.exp(logits[:, 4:]).sum(1)), evidence[:, 4:].sum(1)
    found = leave_one_out(logits[:, :4], evidence[:, :4], rest)
    np.testing.assert_allclose(found, leave_one_out(logits, evidence)[:, :4], rtol=1e-4)
