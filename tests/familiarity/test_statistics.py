from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_zoommil.familiarity import Familiarity, Patches, SlideSample, fitted
from napari_zoommil.familiarity.gaussian import Gaussian
from napari_zoommil.familiarity.statistics import LEAST_LIMIT, MOST_LIMIT, share_unlike

Draw, Sample = Callable[..., np.ndarray], Callable[..., SlideSample]


def known(draw: Draw, sample: Sample, features: int = 0, slides: int = 12) -> Familiarity:
    rng = np.random.default_rng(0)
    train = [sample(draw(rng), str(number), features=features) for number in range(slides)]
    found = fitted(train, mpps=(0.5,), patch_size=64, encoder_hash="0123" if features else "")
    assert found is not None
    return found


@pytest.mark.parametrize("features", [0, 6])
def test_its_own_kind_is_known_and_others_are_not(draw: Draw, sample: Sample, features: int) -> None:
    found, rng = known(draw, sample, features), np.random.default_rng(1)
    for _ in range(5):
        verdict = found.verdict(sample(draw(rng, 40), features=features).levels)
        assert not verdict.is_unlike and verdict.share < 0.1 and verdict.patches == 40
    others = {"grain": {"grain": 4.0}, "stain": {"stains": ((0.3, 0.6, 1.4), (1.0, 0.9, 0.4))}}
    for change in others.values():
        verdict = found.verdict(sample(draw(rng, 40, **change), features=features).levels)
        assert verdict.is_unlike and verdict.share > 0.9
        assert "do not rely on this" in verdict.sentence


def test_features_are_compared_too(draw: Draw, sample: Sample) -> None:
    found = known(draw, sample, features=6)
    (level,) = sample(draw(np.random.default_rng(1), 40), features=6).levels
    moved = Patches(level.descriptors, level.features[:, ::-1] + 40, level.of)
    assert found.verdict([level]).share < 0.1 and found.verdict([moved]).share == 1


def test_each_held_out_slide_has_a_share(draw: Draw, sample: Sample) -> None:
    rng = np.random.default_rng(0)
    train = [sample(draw(rng), str(number)) for number in range(8)]
    strange = [sample(draw(rng, grain=4), "x")]
    own = fitted(train, mpps=(0.5,), patch_size=64)
    seen = fitted(train, strange, mpps=(0.5,), patch_size=64)
    assert own is not None and seen is not None
    assert len(own.shares) == 8 and seen.shares[:8] == own.shares and seen.shares[8] > 0.9
    assert own.limit == LEAST_LIMIT and seen.limit == MOST_LIMIT, "held-out slides tell what is usual"


def test_magnifications_count_by_their_patches(draw: Draw, sample: Sample) -> None:
    found, rng = known(draw, sample), np.random.default_rng(1)
    (own,), (other,) = sample(draw(rng, 20), of=300).levels, sample(draw(rng, 20, grain=4), of=100).levels
    share, count = share_unlike(found.levels * 2, [own, other])
    assert share == pytest.approx(0.25, abs=0.05) and count == 40


def test_glass_is_not_compared(draw: Draw, sample: Sample) -> None:
    found = known(draw, sample)
    verdict = found.verdict(sample(np.full((9, 64, 64, 3), 245, np.uint8)).levels)
    assert verdict.patches == 0 and verdict.is_unlike and "nothing of what it read" in verdict.sentence


def test_too_few_or_too_small_patches_leave_it_unknown(draw: Draw, sample: Sample) -> None:
    few = [sample(draw(np.random.default_rng(0)), str(number)) for number in range(3)]
    assert fitted(few, mpps=(0.5,), patch_size=64) is None
    assert fitted(few * 4, mpps=(0.5,), patch_size=16) is None


def test_each_of_many_kinds_is_known_and_others_are_not(draw: Draw, sample: Sample) -> None:
    rng, brown = np.random.default_rng(0), ((0.3, 0.6, 1.4), (0.6, 0.75, 0.9))
    kinds: list[dict[str, object]] = [{}, {"grain": 5.0}, {"stains": brown}]
    train = [sample(draw(rng, 40, **kinds[number % 3]), str(number)) for number in range(12)]
    found = fitted(train, mpps=(0.5,), patch_size=64, many_kinds=True)
    assert found is not None and found.limit < MOST_LIMIT
    for kind in kinds:
        assert not found.verdict(sample(draw(rng, 40, **kind)).levels).is_unlike
    other = found.verdict(sample(draw(rng, 40, stains=(brown[0], (1.0, 0.9, 0.4)))).levels)
    assert other.is_unlike and other.share > 0.9


def test_no_slide_is_known_of_which_more_than_half_is_unlike(draw: Draw, sample: Sample) -> None:
    rng = np.random.default_rng(0)
    train = [sample(draw(rng, grain=grain), str(grain)) for grain in (0.8, 1.3, 2, 3, 4, 5, 6, 8, 10, 14)]
    found = fitted(train, mpps=(0.5,), patch_size=64, many_kinds=True)
    assert found is not None and found.limit <= MOST_LIMIT


def test_shares_of_a_few_patches_do_not_widen_the_limit(draw: Draw, sample: Sample) -> None:
    rng = np.random.default_rng(0)
    train = [sample(draw(rng), str(number)) for number in range(9)]
    few = sample(draw(rng, 3, grain=6), "few")
    found = fitted([*train, few], mpps=(0.5,), patch_size=64, many_kinds=True)
    assert found is not None and len(found.shares) == 9 and found.limit < MOST_LIMIT


def test_one_slide_is_enough(draw: Draw, sample: Sample) -> None:
    found = fitted([sample(draw(np.random.default_rng(0), 200), "a")], mpps=(0.5,), patch_size=64)
    assert found is not None and found.shares == (pytest.approx(0, abs=0.05),)


def test_distances_are_those_of_mahalanobis() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)) + 3).astype(np.float32)
    found = Gaussian.fitted(rows).distances(rows[:50])
    centred = rows[:50] - rows.mean(0)
    true = np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(rows.T)), centred) / 5)
    np.testing.assert_allclose(found, true, rtol=0.1)


def test_what_lies_outside_the_principal_part_is_far() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 200))).astype(np.float32)
    found = Gaussian.fitted(rows)
    assert len(found.axes) <= 4
    beside = rows[:20] + rng.normal(size=(20, 200)).astype(np.float32)
    assert found.distances(beside).min() > 3 * found.distances(rows[:20]).max()
