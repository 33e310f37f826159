from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil import files
from napari_zoommil.annotations import (
    Autosave,
    CellClass,
    Conflict,
    Points,
    Stranger,
    annotations_path,
    autosave,
)
from napari_zoommil.errors import AnnotationError, FileError, ZoomMILError
from napari_zoommil.slides import Slide

CLASSES = CellClass("tumour", (0, 114, 178)), CellClass("stroma", (213, 94, 0))

CHILD = """
import sys
from pathlib import Path
from napari_zoommil.annotations import Autosave
kept = Autosave.open(Path(sys.argv[1]))
if not kept.points.classes:
    kept.points.add_class("tumour")
for number in range(int(sys.argv[2])):
    kept.points.add((number, float(sys.argv[3])), 1)
    assert kept.problem is None, kept.problem
    print(number + 1, flush=True)
"""


def child(path: Path, count: int, x: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(path), str(count), str(x)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def opened(path: Path) -> Autosave:
    kept = Autosave.open(path, "me")
    for one in CLASSES:
        if one not in kept.points.classes:
            kept.points.add_class(one.name, one.colour)
    return kept


def no_space(*_: Any) -> None:
    raise FileError("no space")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slide [1].points.geojson"


def test_every_edit_is_on_disk_at_once(path: Path) -> None:
    kept = opened(path)
    for count in range(1, 4):
        kept.points.add((count, 0), 1)
        assert len(Points.read(path)) == count
    kept.points.undo()
    assert len(Points.read(path)) == 2
    assert [one.name for one in path.parent.iterdir() if one.suffix == ".part"] == []


def test_a_killed_process_loses_at_most_the_edit_in_flight(path: Path) -> None:
    rng, held = random.Random(0), 0
    for _ in range(4):
        process = child(path, 100_000)
        assert process.stdout
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        done = [1, *(int(line) for line in process.stdout.read().splitlines())]
        process.wait()
        process.stdout.close()
        found = len(json.loads(path.read_bytes())["features"])
        assert held + done[-1] <= found <= held + done[-1] + 1
        assert len(Points.read(path)) == found
        held = found
    opened(path).points.add((0, 0), 1)
    assert not list(path.parent.glob(".*.part"))


def test_two_processes_on_one_file_lose_nothing(path: Path) -> None:
    opened(path).points.add((5, 5), 1)
    processes = [child(path, 40, x) for x in (1, 2)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    xs = Points.read(path).coordinates[:, 1].tolist()
    assert sorted(xs) == [1] * 40 + [2] * 40 + [5]


def test_what_others_did_meanwhile_is_merged(path: Path) -> None:
    mine, yours = opened(path), None
    a, b, c = mine.points.add([[1, 1], [2, 2], [3, 3]], 1)
    yours = opened(path)
    yours.points.move([a], (10, 10))
    yours.points.remove([b])
    (d,) = yours.points.add((4, 4), 2)
    mine.points.set_class([c], 2)
    assert set(mine.points.ids) == {a, c, d}
    assert yours.refresh() and not yours.refresh()
    assert not mine.refresh(), "what was taken over as it was is not written again"
    for kept in (mine.points, yours.points, Points.read(path)):
        assert dict(zip(kept.ids, kept.labels.tolist(), strict=True)) == {a: 1, c: 2, d: 2}
        assert [10, 10] in kept.coordinates.tolist()


def test_where_both_changed_one_ours_is_kept_and_told(path: Path) -> None:
    mine = opened(path)
    a, b, c = mine.points.add([[1, 1], [2, 2], [3, 3]], 1)
    yours = opened(path)
    told: list[tuple[Conflict, ...]] = []
    mine.merged.connect(told.append)
    # Two edits that reach the disk as one, because the disk is full for a moment.
    mine.points.changed.block()
    mine.points.move([a, b], [[7, 7], [8, 8]])
    mine.points.remove([c])
    mine.points.changed.unblock()
    yours.points.move([a, c], [[9, 9], [6, 6]])
    yours.points.remove([b])
    mine.save()
    assert [{one.id for one in conflicts} for conflicts in told] == [{a, b, c}]
    assert sorted(mine.points.coordinates.tolist()) == [[6, 6], [7, 7], [8, 8]]


def test_undo_leaves_alone_what_somebody_else_has_changed_since(path: Path) -> None:
    mine = opened(path)
    (a,) = mine.points.add((1, 1), 1)
    mine.points.move([a], (2, 2))
    yours = opened(path)
    yours.points.move([a], (3, 3))
    mine.refresh()
    mine.points.undo()
    assert mine.points.coordinates.tolist() == [[3, 3]]


def names(kept: Autosave) -> list[str]:
    return [one.name for one in kept.points.classes]


def test_undo_takes_back_ones_own_classes_alone(path: Path) -> None:
    mine = opened(path)
    mine.points.add_class("mine")
    yours = opened(path)
    yours.points.add_class("yours")
    mine.refresh()
    mine.points.undo()
    assert names(mine) == ["tumour", "stroma", "yours"]
    mine.points.redo()
    assert names(mine) == ["tumour", "stroma", "yours", "mine"]


def test_undo_of_a_new_name_leaves_other_peoples_classes(path: Path) -> None:
    mine = opened(path)
    mine.points.add((1, 1), 1)
    mine.points.rename_class(1, "carcinoma")
    yours = Autosave.open(path, "you")
    yours.points.add_class("yours")
    mine.refresh()
    mine.points.undo()
    assert names(mine) == ["tumour", "stroma", "yours"] and mine.points.labels.tolist() == [1]


def test_a_class_that_somebody_has_used_is_not_undone(path: Path) -> None:
    mine = opened(path)
    mine.points.add_class("mine")
    yours = opened(path)
    yours.points.add((1, 1), names(yours).index("mine") + 1)
    mine.refresh()
    mine.points.undo()
    assert names(mine) == ["tumour", "stroma", "mine"] and mine.points.labels.tolist() == [3]


def test_rounding_by_another_program_is_no_change(path: Path) -> None:
    mine = opened(path)
    a, b = mine.points.add([[1.2345, 1], [2.3456, 2]], 1)
    document = json.loads(path.read_bytes())
    for one in document["features"]:
        one["geometry"]["coordinates"] = [round(v, 2) for v in one["geometry"]["coordinates"]]
    del document["napari_zoommil"]
    path.write_text(json.dumps(document))
    told: list[tuple[Conflict, ...]] = []
    mine.merged.connect(told.append)
    mine.points.remove([b])
    assert mine.points.ids == [a] and told == [()]
    assert [one.name for one in Points.read(path).classes] == ["tumour", "stroma"]


def test_members_of_a_multipoint_that_both_edit_add_up(path: Path) -> None:
    def document(*places: list[float]) -> dict[str, Any]:
        geometry = {"type": "MultiPoint", "coordinates": list(places)}
        return {"type": "Feature", "id": "m", "geometry": geometry, "properties": {}}

    path.write_text(json.dumps([document([0, 0], [1, 1], [2, 2])]))
    mine = Autosave.open(path)
    path.write_text(json.dumps([document([0, 0], [1, 1], [2, 2], [3, 3])]))
    mine.points.remove(mine.points.ids[:1])
    assert json.loads(path.read_bytes())["features"] == [document([1, 1], [2, 2], [3, 3])]
    assert mine.points.coordinates.tolist() == [[1, 1], [2, 2], [3, 3]]


EDITS = st.lists(st.tuples(st.booleans(), st.sampled_from(range(8)), st.integers(0, 9)), max_size=12)


def act(points: Points, action: int, n: int) -> None:
    """One edit that makes sense in the state the document is in."""
    ids, label = points.ids, n % len(points.classes) + 1 if points.classes else 0
    chosen, names = ids[n % len(ids) :][:2] if ids else [], {one.name for one in points.classes}
    if action == 0 and label:
        points.add((n, n), label)
    elif action == 1:
        points.move(chosen, [[n, 0]] * len(chosen))
    elif action == 2:
        points.remove(chosen)
    elif action == 3 and label:
        points.set_class(chosen, label)
    elif action == 4 and f"name {n}" not in names:
        points.add_class(f"name {n}")
    elif action == 5 and label and f"name {n + 1}" not in names:
        points.rename_class(label, f"name {n + 1}")
    elif action == 6 and label and n % 2:
        points.remove_class(label)
    elif action == 7:
        points.undo()


@settings(max_examples=30)
@given(EDITS, EDITS)
def test_readers_of_one_file_come_to_the_same_and_to_rest(
    together: list[tuple[bool, int, int]], apart: list[tuple[bool, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        readers = [Autosave.open(Path(folder) / "a.geojson")]
        readers[0].points.add_class("tumour")
        readers[0].points.add([[1, 1], [2, 2], [3, 3]], 1)
        readers.append(Autosave.open(readers[0].path))
        for second, action, n in together:
            act(readers[second].points, action, n)
        for one in readers:
            one.points.changed.block()  # edits that do not reach the disk at once
        for second, action, n in apart:
            act(readers[second].points, action, n)
        for one in readers:
            one.points.changed.unblock()
            one.save()
        rounds = [[one.refresh() for one in readers] for _ in range(3)]
        assert rounds[-1] == [False, False]
        first, second = (sorted(one.text for one in each.points.features.values()) for each in readers)
        assert first == second
        assert readers[0].points.classes == readers[1].points.classes
        assert all(each.problem is None for each in readers)


def test_a_damaged_file_is_put_aside_and_not_overwritten(path: Path) -> None:
    mine = opened(path)
    mine.points.add((1, 1), 1)
    path.write_bytes(b'{"type": "FeatureColl')
    told: list[tuple[Conflict, ...]] = []
    mine.merged.connect(told.append)
    mine.points.add((2, 2), 1)
    assert len(Points.read(path)) == 2 and "damaged" in told[0][0].note
    (aside,) = path.parent.glob("*damaged-1.geojson")
    assert aside.read_bytes() == b'{"type": "FeatureColl'


@pytest.mark.parametrize("count", [0, 1])
def test_another_document_never_takes_points_away(path: Path, count: int) -> None:
    """Such as a colleague's of the same slide, or an empty one, also where no slide is known."""
    mine, theirs = opened(path), opened(path.with_name("theirs.geojson"))
    ids = mine.points.add([[1, 1], [2, 2]], 1)
    added = theirs.points.add([[3, 3]], 1)
    if not count:
        theirs.points.remove(added)
    content = theirs.path.read_bytes()
    os.replace(theirs.path, path)
    assert mine.refresh() and mine.points.ids == Points.read(path).ids == ids
    (aside,) = path.parent.glob("*.other-1.geojson")
    assert aside.read_bytes() == content


def test_a_later_state_of_the_document_is_merged_even_if_it_shares_nothing(path: Path) -> None:
    mine = opened(path)
    mine.points.add((1, 1), 1)
    yours = opened(path)
    yours.points.remove(yours.points.ids)
    yours.points.add((2, 2), 1)
    assert mine.refresh() and mine.points.coordinates.tolist() == [[2, 2]]
    assert not list(path.parent.glob("*.other-*"))


FEATURE = {
    "type": "Feature",
    "id": "f",
    "geometry": {"type": "Point", "coordinates": [1, 1]},
    "properties": {"objectType": "annotation"},
}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    "document", [[FEATURE], FEATURE, {"type": "FeatureCollection", "features": [FEATURE]}]
)
def test_what_another_window_made_of_a_foreign_file_is_a_later_state(
    path: Path, document: Any, moved: bool
) -> None:
    path.write_text(json.dumps(document))
    mine, yours = Autosave.open(path), Autosave.open(path)
    if moved:
        yours.points.move(["f"], (2, 2))
        assert mine.refresh() and mine.points.coordinates.tolist() == [[2, 2]]
    yours.points.remove(["f"])
    assert mine.refresh() and mine.points.ids == Points.read(path).ids == []
    assert not list(path.parent.glob("*.other-*")) and not yours.refresh()


@pytest.mark.parametrize("full", [False, True])
def test_two_windows_with_different_documents_at_one_path_come_to_rest(
    path: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = opened(path)
    (a,) = mine.points.add((1, 1), 1)
    os.replace(path, path.with_name("away.geojson"))
    yours = opened(path)
    (b,) = yours.points.add((2, 2), 1)
    told: list[tuple[Conflict, ...]] = []
    mine.merged.connect(told.append)
    assert mine.refresh() and yours.refresh()
    if full:
        with monkeypatch.context() as patch:
            patch.setattr(autosave, "write_file", no_space)
            with pytest.raises(FileError, match="no space"):
                mine.refresh()
    rounds = [[each.refresh() for each in (mine, yours)] for _ in range(3)]
    assert rounds[1:] == [[False, False]] * 2
    for each in (mine.points, yours.points, Points.read(path)):
        assert set(each.ids) == {a, b}
    asides = sorted(path.parent.glob("*.other-*"))
    assert [Points.read(one).ids for one in asides] == [[b], [a]]
    assert [isinstance(one, Stranger) for each in told for one in each] == [True, False]
    assert "both are kept" in told[1][0].note


def test_a_document_of_another_slide_is_put_aside_once_and_never_mixed_with_ours(path: Path) -> None:
    mine = opened(path)
    mine._owner = "a" * 32
    mine.points.add((1, 1), 1)
    theirs = opened(path.with_name("theirs.geojson"))
    theirs._owner = "b" * 32
    theirs.points.add((2, 2), 1)
    content = theirs.path.read_bytes()
    path.write_bytes(content)
    assert mine.refresh()
    path.write_bytes(content)
    with pytest.raises(FileError, match="also saved by another window, with annotations of another slide"):
        mine.refresh()
    assert path.read_bytes() == content and len(mine.points) == 1
    assert len(list(path.parent.glob("*.other-*"))) == 1
    path.unlink()
    mine.points.add((3, 3), 1)
    assert mine.problem is None and len(Points.read(path)) == 2


def test_a_stranger_is_told_of_even_if_ours_cannot_be_written_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = opened(path), opened(path.with_name("theirs.geojson"))
    mine.points.add((1, 1), 1)
    theirs.points.add((2, 2), 1)
    os.replace(theirs.path, path)
    told: list[Conflict] = []
    mine.merged.connect(told.extend)
    with monkeypatch.context() as patch:
        patch.setattr(autosave, "write_file", no_space)
        with pytest.raises(FileError, match="no space"):
            mine.refresh()
    assert not told and not path.exists()
    assert mine.refresh() and len(Points.read(path)) == 1
    (stranger,) = told
    assert isinstance(stranger, Stranger) and "theirs was kept as" in stranger.note
    assert not mine.refresh()


def test_a_file_that_vanished_is_written_anew(path: Path) -> None:
    mine = opened(path)
    mine.points.add((1, 1), 1)
    path.unlink()
    mine.points.add((2, 2), 1)
    assert len(Points.read(path)) == 2


def test_a_full_disk_harms_neither_the_file_nor_the_edit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = opened(path)
    mine.points.add((1, 1), 1)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    heard: list[ZoomMILError] = []
    mine.failed.connect(heard.append)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        mine.points.add((2, 2), 1)
    assert path.read_bytes() == before and len(mine.points) == 2
    assert heard == [mine.problem] and "No space left on device" in str(mine.problem)
    assert not list(path.parent.glob(".*.part"))
    mine.points.add((3, 3), 1)
    assert mine.problem is None and len(Points.read(path)) == 3


def test_a_malformed_file_is_not_opened_and_stays(path: Path) -> None:
    path.write_bytes(b"[1]")
    with pytest.raises(AnnotationError, match="cannot be read as annotations"):
        Autosave.open(path)
    assert path.read_bytes() == b"[1]"


def test_a_closed_autosave_writes_no_more(path: Path) -> None:
    mine = opened(path)
    mine.close()
    mine.points.add((1, 1), 1)
    assert len(Points.read(path)) == 0


def test_a_full_disk_is_no_reason_to_go_elsewhere(
    tmp_path: Path, make_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slide.open(make_slide(tmp_path / "a.tif", None)) as slide:
        kept = Autosave.of(slide, classes=CLASSES)
        with monkeypatch.context() as patch:
            patch.setattr(autosave, "write_file", no_space)
            kept.points.add((1, 2), 1)
        assert str(kept.problem) == "no space" and kept.path == annotations_path(slide)
        kept.points.add((3, 4), 1)
        assert kept.problem is None and len(Points.read(tmp_path / "a.points.geojson")) == 2


def test_a_document_is_saved_as_long_as_it_lives(path: Path) -> None:
    points = opened(path).points
    points.add((1, 1), 1)
    assert len(Points.read(path)) == 1


def test_a_file_that_another_program_keeps_locked_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = opened(path)
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    with files.locked(mine.path):
        mine.points.add((1, 1), 1)
    assert "being written by another program" in str(mine.problem)
    mine.save()
    assert mine.problem is None and len(Points.read(path)) == 1
