"""Results come back as they were, and a file makes nothing but what their types name."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_zoommil.errors import JobError
from napari_zoommil.jobs.result_file import TREE, Excerpt, read_result, result_bytes


@dataclass(frozen=True, eq=False)
class Part:
    values: NDArray[np.float32]
    kind: Literal["one", "other"] = "one"


@dataclass(frozen=True)
class Number:
    value: float
    unit: str


@dataclass(frozen=True)
class Names:
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Whole:
    name: str
    place: tuple[float, float] | None
    parts: tuple[Part, ...]
    task: Names | Number
    count: int = 0
    known: bool = True


parts = st.builds(
    Part,
    arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(0, 3)), elements=st.floats(width=32)),
    st.sampled_from(["one", "other"]),
)
finite = st.floats(allow_nan=False)
wholes = st.builds(
    Whole,
    st.text(),
    st.none() | st.tuples(finite, finite),
    st.lists(parts, max_size=3).map(tuple),
    st.builds(Number, finite, st.text()) | st.builds(Names, st.lists(st.text()).map(tuple)),
    st.integers(),
    st.booleans(),
)


def through(folder: Path, content: bytes) -> Whole:
    (folder / "whole.npz").write_bytes(content)
    return read_result(folder / "whole.npz", Whole)


@given(wholes)
def test_a_result_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, whole: Whole) -> None:
    back = through(tmp_path_factory.mktemp("result"), result_bytes(whole))
    assert (back.name, back.place, back.task) == (whole.name, whole.place, whole.task)
    assert (back.count, back.known) == (whole.count, whole.known)
    assert [part.kind for part in back.parts] == [part.kind for part in whole.parts]
    for mine, its in zip(back.parts, whole.parts, strict=True):
        assert mine.values.dtype == np.float32
        np.testing.assert_array_equal(mine.values, its.values)


def archive(tmp_path: Path, tree: Any, **content: np.ndarray) -> bytes:
    named = {TREE: np.frombuffer(json.dumps(tree).encode(), np.uint8)} | content
    np.savez(tmp_path / "made.npz", **named)
    return (tmp_path / "made.npz").read_bytes()


WHOLE = {
    "name": "n",
    "place": [1, 2.5],
    "parts": [{"values": "v", "kind": "other"}],
    "task": {"names": ["a", "b"]},
}


def test_what_has_a_default_may_be_missing(tmp_path: Path) -> None:
    found = through(tmp_path, archive(tmp_path, WHOLE, v=np.zeros(2, np.float32)))
    assert (found.place, found.task, found.count) == ((1.0, 2.5), Names(("a", "b")), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"name": None},
        {"place": [1]},
        {"place": [1, 2, 3]},
        {"place": "12"},
        {"parts": {"values": "v"}},
        {"parts": [{"kind": "one"}]},
        {"parts": [{"values": "absent"}]},
        {"parts": [{"values": TREE}]},
        {"parts": [{"values": "v", "kind": "third"}]},
        {"parts": [{"values": "v", "kind": ["one"]}]},
        {"task": {}},
        {"task": {"value": "much", "unit": "µm"}},
        {"count": 1.5},
        {"count": True},
        {"known": 1},
        {"more": 1},
    ],
)
def test_what_its_types_do_not_name_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    content = archive(tmp_path, WHOLE | change, v=np.zeros(2, np.float32))
    with pytest.raises(JobError, match="is damaged, or of another version"):
        through(tmp_path, content)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    content = archive(tmp_path, WHOLE, v=np.array([print], object))
    with pytest.raises(JobError, match="allow_pickle=False"):
        through(tmp_path, content)


def test_a_file_that_was_cut_or_changed_is_told(tmp_path: Path) -> None:
    whole = Whole("n", None, (Part(np.arange(500, dtype=np.float32)),), Number(1.0, "µm"))
    content = result_bytes(whole)
    rng = np.random.default_rng(0)
    for length in rng.integers(0, len(content), 60):
        with pytest.raises(JobError):
            through(tmp_path, content[:length])
    for place in rng.integers(0, len(content), 200):  # the archive's own checksums tell, or nothing is lost
        changed = bytearray(content)
        changed[place] ^= 0xFF
        try:
            back = through(tmp_path, bytes(changed))
        except JobError:
            continue
        np.testing.assert_array_equal(back.parts[0].values, whole.parts[0].values)
    with pytest.raises(JobError, match="cannot be read"):
        read_result(tmp_path / "absent.npz", Whole)


@dataclass(frozen=True, eq=False)
class Large:
    name: str
    large: NDArray[np.float32]
    small: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Small(Excerpt):
    name: str
    small: NDArray[np.float32]


def test_of_an_excerpt_nothing_else_is_read(tmp_path) -> None:
    path = tmp_path / "whole.npz"
    path.write_bytes(result_bytes(Large("w", np.ones(9, np.float32), np.zeros(2, np.float32))))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if name != "large.npy"}
    assert len(content) == 2
    with zipfile.ZipFile(path, "w") as archive:
        for name, one in content.items():
            archive.writestr(name, one)
    found = read_result(path, Small)
    assert found.name == "w" and found.small.tolist() == [0, 0]
    with pytest.raises(JobError):
        read_result(path, Large)


def test_each_array_is_decompressed_once(tmp_path, monkeypatch) -> None:
    read, own = [], np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda file, name: (read.append(name), own(file, name))[1]
    )
    path = tmp_path / "whole.npz"
    path.write_bytes(result_bytes(Large("w", np.ones(9, np.float32), np.zeros(2, np.float32))))
    read_result(path, Large)
    assert sorted(read) == sorted([TREE, "large", "small"])
