from __future__ import annotations

import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from filelock import FileLock
from zarr.storage import LocalStore

from napari_zoommil.bags import parts
from napari_zoommil.bags.group import FeatureGroup
from napari_zoommil.bags.parts import CHUNK_ROWS, Appender
from napari_zoommil.unfinished_files import machine

ORIGINS = np.stack([np.arange(400.0), np.arange(400.0) * 3], 1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


class Killed(BaseException):
    """What no handler of errors catches, as if the process had ended."""


def kill(*arguments: object) -> None:
    raise Killed


def test_writers_share_a_part_one_after_the_other(group: FeatureGroup, features_of: Callable) -> None:
    for start in range(0, 400, 100):
        some = ORIGINS[start : start + 100]
        Appender(group.folder, "float16", {}).append(some, features_of(some))
    assert len(names(group.folder)) == 1
    assert group.find(ORIGINS).known.all()
    assert zarr.open_array(group.folder / names(group.folder)[0] / "features").shape == (400, 5)


def test_a_writer_that_finds_a_part_busy_makes_another(group: FeatureGroup, features_of: Callable) -> None:
    group.append(ORIGINS[:9], features_of(ORIGINS[:9]))
    (part,) = names(group.folder)
    with FileLock(group.folder / part / ".lock"):
        group.append(ORIGINS[9:20], features_of(ORIGINS[9:20]))
    assert len(names(group.folder)) == 2 and group.find(ORIGINS).known.sum() == 20
    group.append(ORIGINS[20:30], features_of(ORIGINS[20:30]))
    assert len(names(group.folder)) == 2


@pytest.mark.parametrize("error", [NotImplementedError, OSError])
def test_where_files_cannot_be_locked_each_writer_has_a_part(
    group: FeatureGroup, features_of: Callable, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error("no locks here")

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "acquire", fail)
        writers = [Appender(group.folder, "float16", {}) for _ in range(2)]
        for number in range(4):
            some = ORIGINS[number * 10 : number * 10 + 10]
            writers[number % 2].append(some, features_of(some))
        assert [name[:5] for name in names(group.folder)] == ["solo-"] * 2
    group.append(ORIGINS[40:50], features_of(ORIGINS[40:50]))
    assert [name[:5] for name in names(group.folder)] == ["part-", "solo-", "solo-"]
    found = group.find(ORIGINS)
    np.testing.assert_array_equal(found.read(np.arange(50)), features_of(ORIGINS[:50]))


def test_parts_of_another_machine_are_read_but_not_added_to(
    group: FeatureGroup, features_of: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "HOST", "elsewhere")
        group.append(ORIGINS[:9], features_of(ORIGINS[:9]))
    FeatureGroup(group.folder, "float16").append(ORIGINS[9:18], features_of(ORIGINS[9:18]))
    assert len(names(group.folder)) == 2 and group.find(ORIGINS).known.sum() == 18


def test_threads_of_one_process_lose_nothing(group: FeatureGroup, features_of: Callable) -> None:
    def work(start: int) -> None:
        own = FeatureGroup(group.folder, "float16")
        for row in range(start, 400, 4):
            own.append(ORIGINS[row : row + 1], features_of(ORIGINS[row : row + 1]))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = group.find(ORIGINS)
    assert found.known.all()
    np.testing.assert_array_equal(found.read(np.arange(400)), features_of(ORIGINS))


@pytest.mark.parametrize(
    ("before", "writes"),
    [*((300, number) for number in range(1, 6)), *((0, number) for number in range(1, 10))],
)
def test_killed_between_any_two_writes_nothing_marked_is_lost(
    group: FeatureGroup, features_of: Callable, monkeypatch: pytest.MonkeyPatch, before: int, writes: int
) -> None:
    """An append is some writes of whole files; the process ends before the n-th of them."""
    if before:
        group.append(ORIGINS[:before], features_of(ORIGINS[:before]))
    left, real = [writes], LocalStore.set

    async def counted(store: LocalStore, key: str, value: object, *rest: object) -> None:
        left[0] -= 1
        if not left[0]:
            kill()
        await real(store, key, value, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", counted)
        try:
            group.append(ORIGINS[300:350], features_of(ORIGINS[300:350]))
            ended = False
        except Killed:
            ended = True
    found = group.find(ORIGINS)
    assert found.known[:before].all() and (ended or found.known[300:350].all())
    known = np.flatnonzero(found.known)
    if len(known):
        np.testing.assert_array_equal(found.read(known), features_of(ORIGINS[known]))
    group.append(ORIGINS[before:], features_of(ORIGINS[before:]))
    np.testing.assert_array_equal(group.find(ORIGINS).read(np.arange(400)), features_of(ORIGINS))


def test_a_part_is_seen_once_it_is_whole(
    group: FeatureGroup, features_of: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", kill)
        group.append(ORIGINS[:9], features_of(ORIGINS[:9]))
    assert names(group.folder) == [] and not group.find(ORIGINS).known.any()


def test_what_a_killed_process_left_is_deleted_after_a_while(
    group: FeatureGroup, features_of: Callable
) -> None:
    dead = f".new-{machine()}-4194305-0a1b2c3d"  # no process has such a number
    for name, age in ((".new-old", 2 * parts.ABANDONED_SECONDS), (".new-young", 0.0), (dead, 0.0)):
        (group.folder / name).mkdir(parents=True)
        os.utime(group.folder / name, (time.time() - age,) * 2)
    group.append(ORIGINS[:9], features_of(ORIGINS[:9]))
    assert [name for name in names(group.folder) if name.startswith(".new")] == [".new-young"]
    part = next(group.folder.glob("part-*"))
    (part / "features" / "c" / "0" / "0.abc.partial").write_bytes(b"half")
    FeatureGroup(group.folder, "float16").append(ORIGINS[9:20], features_of(ORIGINS[9:20]))
    assert not list(part.rglob("*.partial")) and group.find(ORIGINS).known.sum() == 20


@pytest.mark.parametrize("damage", ["marks", "metadata", "no json", "no origins", "gone", "cut"])
def test_a_damaged_part_counts_as_none_and_is_made_again(
    group: FeatureGroup, features_of: Callable, damage: str
) -> None:
    group.append(ORIGINS, features_of(ORIGINS))
    (part,) = group.folder.glob("part-*")
    if damage == "marks":
        (part / "origins" / "c" / "0" / "0").write_bytes(b"nothing")
    elif damage == "metadata":
        (part / "features" / "zarr.json").write_text("[]")
    elif damage == "no json":
        (part / "origins" / "zarr.json").write_text("{")
    elif damage == "no origins":
        shutil.rmtree(part / "origins")
    elif damage == "gone":
        shutil.rmtree(part)
    else:
        zarr.open_array(part / "features", mode="r+").resize((9, 5))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert not group.find(ORIGINS).known.any()
    expected = [] if damage == "gone" else [f"the features in {part} are not used: it is damaged"]
    assert [str(one.message).partition(". ")[0] for one in told] == expected
    group.append(ORIGINS, features_of(ORIGINS))
    found = group.find(ORIGINS)
    assert found.known.all()
    np.testing.assert_array_equal(found.read(np.arange(400)), features_of(ORIGINS))


@pytest.mark.parametrize("damage", ["flipped", "empty", "gone"])
def test_a_damaged_file_of_features_costs_its_rows(
    group: FeatureGroup, features_of: Callable, damage: str
) -> None:
    group.append(ORIGINS, features_of(ORIGINS))
    file = next(group.folder.glob("part-*")) / "features" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flipped" else b"")
    found = group.find(ORIGINS)
    read = found.read(np.arange(400))
    assert np.isnan(read[:CHUNK_ROWS]).all()
    np.testing.assert_array_equal(read[CHUNK_ROWS:], features_of(ORIGINS[CHUNK_ROWS:]))
    assert group.find(ORIGINS).known.tolist() == [False] * CHUNK_ROWS + [True] * (400 - CHUNK_ROWS)
    group.append(ORIGINS[:CHUNK_ROWS], features_of(ORIGINS[:CHUNK_ROWS]))
    np.testing.assert_array_equal(group.find(ORIGINS).read(np.arange(400)), features_of(ORIGINS))


def test_what_cannot_be_written_is_an_error_of_the_system(tmp_path: Path, features_of: Callable) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file|Not a directory"):
        FeatureGroup(tmp_path / "file" / "group", "float16").append(ORIGINS, features_of(ORIGINS))
