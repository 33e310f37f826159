"""Shards: fixed shares of a list of slides, one for each task of a batch queue's job array."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from napari_zoommil.errors import JobError


def shard_of(slides: Iterable[Path], shard: str) -> list[Path]:
    """The slides of a shard, in the order given.

    Which these are depends only on the names of the slides: not on their order, and not on what is done
    already. Shards differ by one slide at most; a shard is empty if there are more shards than slides.

    Parameters
    ----------
    slides : iterable of Path
        The same for every shard; a slide that is named twice counts once.
    shard : str
        ``i/n``, the i-th of n shards, from 1.

    Raises
    ------
    JobError
        If the shard is malformed.
    """
    number, count = _numbers(shard)
    unique = {slide.as_posix(): slide for slide in slides}
    own = set(sorted(unique)[number - 1 :: count])
    return [slide for name, slide in unique.items() if name in own]


def _numbers(shard: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", shard.strip())
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise JobError(f"a shard is i/n with i from 1 to n, such as 3/8 for the third of 8, not {shard!r}")
    return number, count
