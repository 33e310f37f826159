from __future__ import annotations

import pytest

from napari_zoommil.familiarity import NO_TRAINING, UNKNOWN, Verdict


@pytest.mark.parametrize(
    ("share", "limit", "told"),
    [
        (0.82, 0.25, "82 % of what it read is unlike what it was trained on: do not rely on this"),
        (0.25, 0.25, "25 % of what it read is unlike what it was trained on"),
        (1.0, 0.25, "100 % of what it read is unlike what it was trained on: do not rely on this"),
        (0.999, 0.25, "99 % of what it read is unlike what it was trained on: do not rely on this"),
        (0.002, 0.25, "less than 1 % of what it read is unlike what it was trained on"),
        (0.0, 0.25, "0 % of what it read is unlike what it was trained on"),
    ],
)
def test_it_is_a_sentence(share: float, limit: float, told: str) -> None:
    verdict = Verdict("known", share, limit, 100)
    assert verdict.sentence == told and verdict.is_unlike == told.endswith("do not rely on this")
    assert verdict.facts["sentence"] == told and verdict.facts["share_unlike"] == share


def test_what_is_not_known_is_said() -> None:
    assert UNKNOWN.sentence == (
        "whether it knows such tissue is unknown: the model folder keeps no statistics of its training"
    )
    assert "needs no training" in NO_TRAINING.sentence
    for one in (UNKNOWN, NO_TRAINING):
        assert not one.is_unlike and one.facts["share_unlike"] is None


def test_few_patches_are_no_proof_of_the_contrary() -> None:
    few = Verdict("known", 0.0, 0.25, 4)
    assert not few.is_unlike
    assert (
        few.sentence == "0 % of what it read is unlike what it was trained on: 4 patches are too few to tell"
    )
    assert Verdict("known", 0.5, 0.25, 4).sentence.endswith("do not rely on this"), "what is seen is said"
