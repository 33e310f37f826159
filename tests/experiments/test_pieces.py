"""Results of pieces, and their choice by patterns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.pieces import Pieces, as_json, select

NAMES = ["abmil@20x/0", "abmil@5x/0", "zoommil/0", "abmil@20x/1", "abmil@5x/1", "zoommil/1"]


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        ([], NAMES),
        (["zoommil"], ["zoommil/0", "zoommil/1"]),
        (["abmil*/1"], ["abmil@20x/1", "abmil@5x/1"]),
        (["zoommil,abmil@5x/0"], ["abmil@5x/0", "zoommil/0"]),
        (["zoommil/1", "*/0"], ["abmil@20x/0", "abmil@5x/0", "zoommil/0", "zoommil/1"]),
    ],
)
def test_patterns(only: list[str], chosen: list[str]) -> None:
    assert select(NAMES, only) == chosen


@pytest.mark.parametrize("pattern", ["clam", "zoommil/7", "zoommil/0/0"])
def test_a_pattern_that_matches_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(JobError, match="matches none of the pieces abmil@20x/0"):
        select(NAMES, ["zoommil", pattern])


def test_results_are_kept_with_what_they_were_made_with(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path / "pieces", {"a/0": {"k": (1, 2)}, "a/1": {"k": (1, 2)}})
    assert not pieces.has("a/0") and pieces.all() == {}
    pieces.keep("a/1", {"f1": 0.5})
    assert pieces.has("a/1") and pieces.all() == {"a/1": {"f1": 0.5}}
    with pytest.raises(JobError, match=r"a_1\.json has other settings"):
        Pieces(tmp_path / "pieces", {"a/1": {"k": (1, 3)}}).all()
    (tmp_path / "pieces" / "a_0.json").write_text("[]")
    with pytest.raises(JobError, match="not the result of a piece"):
        pieces.has("a/0")


def test_settings_as_json() -> None:
    @dataclass(frozen=True)
    class Inner:
        size: int

    @dataclass(frozen=True)
    class Outer:
        inner: Inner
        many: tuple[int, ...]
        rate: float

    assert as_json(Outer(Inner(3), (1, 2), 0.5), without=("many",)) == {"inner": {"size": 3}, "rate": 0.5}
