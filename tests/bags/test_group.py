from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.bags import group as module
from napari_zoommil.bags.group import PATIENCE, FeatureGroup, Writer
from napari_zoommil.bags.parts import CHUNK_ROWS


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_was_added_is_found_by_where_it_lies(features_of: Callable, data: st.DataObject) -> None:
    """Whatever lies there, in any order, in any number of pieces; by origins with rounding errors."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    stride = rng.uniform(3, 900, 2)
    offset = rng.uniform(-2000, 2000, 2) * data.draw(st.sampled_from((0, 1)))
    lattice = np.unique(rng.integers(0, 200, (data.draw(st.integers(1, 700)), 2)), axis=0)
    origins = rng.permutation(np.rint((lattice * stride + offset) * 2) / 2)
    origins = origins[np.unique(origins, axis=0, return_index=True)[1]]
    known = rng.random(len(origins)) < 0.7
    with TemporaryDirectory() as folder:
        group = FeatureGroup(Path(folder) / "g", data.draw(st.sampled_from(("float16", "float32"))))
        for piece in np.array_split(rng.permutation(np.flatnonzero(known)), data.draw(st.integers(1, 4))):
            group.append(origins[piece], features_of(origins[piece]))
        found = FeatureGroup(group.folder, "float16").find(origins + rng.uniform(-1e-6, 1e-6, origins.shape))
        np.testing.assert_array_equal(found.known, known)
        wanted = rng.permutation(len(origins))
        expected = np.where(known[wanted, None], features_of(origins[wanted]), np.nan)
        if known.any():
            np.testing.assert_array_equal(found.read(wanted), expected)
            assert sorted(found.in_order(wanted)) == list(range(len(origins)))


def test_an_empty_group_knows_nothing(group: FeatureGroup) -> None:
    found = group.find(np.zeros((3, 2)))
    assert not found.known.any() and found.dim == 0 and found.read(np.arange(3)).shape == (3, 0)
    assert group.find(np.empty((0, 2))).known.shape == (0,)


def test_half_precision_is_kept_to_its_digits_and_its_range(group: FeatureGroup) -> None:
    origins = np.array([(0.0, 0.0), (1.0, 0.0)])
    group.append(origins, np.array([(1 / 3, -1e-3), (1e9, -1e9)], np.float32))
    read = group.find(origins).read(np.arange(2))
    np.testing.assert_allclose(read[0], (1 / 3, -1e-3), rtol=2**-11)
    assert read[1].tolist() == [65504, -65504]


def test_features_that_are_no_numbers_are_not_kept(group: FeatureGroup) -> None:
    origins = np.array([(0.0, 0.0), (1.0, 0.0)])
    group.append(origins, np.array([(1, np.nan), (1, 2)], np.float32))
    assert group.find(origins).known.tolist() == [False, True]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still but for writing, which takes a second."""
    now, real = [100.0], FeatureGroup.append

    def append(*arguments: Any) -> None:
        real(*arguments)
        now[0] += 1

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(FeatureGroup, "append", append)
    return now


def test_a_writer_writes_a_file_at_a_time(
    group: FeatureGroup, features_of: Callable, clock: list[float]
) -> None:
    origins = np.stack([np.arange(450.0)] * 2, 1)
    writer = Writer(group)
    assert writer.flush() == 0
    for start in range(0, 450, 50):
        written = writer.add(origins[start : start + 50], features_of(origins[start : start + 50]))
        assert bool(written) == (start in (0, 300)), start  # the first shows whether the disk can be written
    assert group.find(origins).known.sum() == 350 >= CHUNK_ROWS
    assert writer.flush() and group.find(origins).known.all()


def test_a_writer_of_slow_patches_does_not_wait(
    group: FeatureGroup, features_of: Callable, clock: list[float]
) -> None:
    """Not longer than many times what writing takes, so that a killed process has lost little."""
    origins = np.array([(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)])
    writer = Writer(group)
    assert writer.add(origins[:1], features_of(origins[:1]))
    clock[0] += PATIENCE - 0.1
    assert not writer.add(origins[1:2], features_of(origins[1:2]))
    clock[0] += 0.1
    assert writer.add(origins[2:], features_of(origins[2:])) and group.find(origins).known.all()
