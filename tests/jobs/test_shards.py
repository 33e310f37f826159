"""Shards cover all slides, each once, whatever the order in which they are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.errors import JobError
from napari_zoommil.jobs import Job, Progress, run
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.shards import shard_of


@given(st.lists(st.sampled_from("abcdefghijk")), st.integers(1, 7), st.randoms())
def test_shards_are_fixed_balanced_and_cover_each_slide_once(names: list[str], count: int, random) -> None:
    slides = [Path("folder", name) for name in names]
    shards = [shard_of(slides, f"{n}/{count}") for n in range(1, count + 1)]
    assert sorted(slide for shard in shards for slide in shard) == sorted(set(slides))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    random.shuffle(slides)
    assert [set(shard) for shard in shards] == [
        set(shard_of(slides, f"{n}/{count}")) for n in range(1, count + 1)
    ]


def test_the_order_of_the_list_is_kept() -> None:
    assert shard_of([Path(name) for name in "dbca"], "1/2") == [Path("c"), Path("a")]


@pytest.mark.parametrize("shard", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1.0/4", "²/4"])
def test_a_malformed_shard_is_refused(shard: str) -> None:
    with pytest.raises(JobError, match="a shard is i/n with i from 1 to n"):
        run(over(lambda slide: pytest.fail("begun"), ["a"], shard=shard))


def test_a_job_runs_on_its_shard_only() -> None:
    def named(slide: Path) -> Job[str]:
        yield Progress(0, 1, "")
        return slide.name

    assert [outcome.result for outcome in run(over(named, ["c", "a", "b"], shard="1/2"))] == ["c", "a"]
    assert run(over(named, ["a"], shard="2/2")) == ()
