"""The one way to write a file: whole at every moment, and told in a sentence where it cannot be written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from napari_zoommil import files
from napari_zoommil.annotations import CLASS_CYCLE, CellClass, Points
from napari_zoommil.cells.export import write_detections
from napari_zoommil.cells.model import Finds
from napari_zoommil.errors import FileError
from napari_zoommil.experiments.charts import Line, Panel, write_svg
from napari_zoommil.files import read_file, write_file
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.export import write_ome_tiff
from napari_zoommil.maps.figure import Overview, figure_of, write_png
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.model_folder import CONFIG, write_folder
from napari_zoommil.synthetic import SyntheticSlide
from napari_zoommil.unfinished_files import machine

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is open")


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def heat_map() -> HeatMap:
    return HeatMap(np.eye(3, dtype=np.float32), (0.0, 0.0), (4.0, 4.0), 1.0, 10.0, "attention", None)


def picture(path: Path) -> None:
    overview = Overview(np.zeros((12, 12, 3), np.uint8), (1.0, 1.0), None)
    write_png(path, figure_of(overview, Overlay.of([heat_map()], "times")))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: files.write_file(path, b"1"),
    "pieces": lambda path: files.write_file(path, iter([b"1", b"2"])),
    "json": lambda path: files.write_json(path, {"a": 1}),
    "table": lambda path: files.write_table(path, ["a"], [{"a": 1}]),
    "points": lambda path: Points().write(path),
    "detections": lambda path: write_detections(path, Finds.together([]), [CellClass("a", CLASS_CYCLE[0])]),
    "ome_tiff": lambda path: write_ome_tiff(path, heat_map()),
    "png": picture,
    "svg": lambda path: write_svg(path, [Panel("a", "x", "y", [Line("b", [0, 1], [0, 1])])]),
    "slide": lambda path: SyntheticSlide(0, 1024, texture_px=512).write(path),
}


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    write: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FileError, match=r"some\.\w+ cannot be written \(No space left.*free some space"):
        write(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write(path)
    assert path.read_bytes() != b"old" and not leftovers(tmp_path)


def test_a_disk_that_is_full_in_the_middle(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1"
        full()

    with pytest.raises(FileError, match="free some space"):
        files.write_file(tmp_path / "a", pieces())
    assert not list(tmp_path.iterdir())


def test_a_model_folder_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Linear(1, 1)
    write_folder(tmp_path, network, {"a": 1}, "# A\n", "mil")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FileError, match=r"model\.safetensors cannot be written"):
        write_folder(tmp_path, network, {"a": 2}, "# B\n", "mil")
    assert json.loads((tmp_path / CONFIG).read_text())["a"] == 1 and not leftovers(tmp_path)


@pytest.mark.parametrize("number", ["EACCES", "EROFS", "EPERM"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_folder_that_is_read_only_is_told(
    write: Callable[[Path], Any], number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = getattr(files, number)

    def denied(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "replace", denied)
    with pytest.raises(FileError, match=r"some\.\w+ cannot be written .*one that may be written to"):
        write(tmp_path / "some.file")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir(mode=0o555)
    with pytest.raises(FileError, match=r"a\.txt cannot be written \(Permission denied\).*may be written to"):
        files.write_file(folder / "a.txt", b"1")
    with pytest.raises(FileError, match=r"the folder .*new cannot be made \(Permission denied\)"):
        files.make_folder(folder / "new")


@POSIX
def test_links_lead_somewhere_or_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert files.real(tmp_path / "link") == files.real(tmp_path) / "file"
    assert files.real(tmp_path / "round") == files.real(tmp_path) / "round"


def test_a_folder_is_asked_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = tmp_path / "a" / "b"
    files.require_writable(new)
    assert not (tmp_path / "a").exists(), "nothing is made"
    (tmp_path / "a").write_text("")
    with pytest.raises(FileError, match=r"b cannot be a folder, because .*a is none"):
        files.require_writable(new)
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(FileError, match=r"cannot be written to; save to another folder, one that may be"):
        files.require_writable(tmp_path / "c")


def test_a_drive_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os.path, "lexists", lambda _: False)
    with monkeypatch.context() as patch, pytest.raises(FileError, match="cannot be a folder, because"):
        patch.setattr(Path, "is_dir", lambda _: False)
        files.require_writable(Path("z/a"))


def test_a_folder_is_searched_for_leftovers_of_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[None] = []
    monkeypatch.setattr(files, "sweep", lambda _: searched.append(None))
    for name in ("a", "b", "a", "b", "a"):
        files.write_file(tmp_path / name, b"1")
    assert len(searched) == 2


def test_no_place_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path / "gone"))
    with (
        pytest.raises(FileError, match=r"zoommil-.* cannot be written \(No such file"),
        files.temporary_folder(),
    ):
        pass


def test_a_file_that_another_program_keeps_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    files.require_replaceable(path)
    path.write_bytes(b"1")
    files.require_replaceable(path)
    assert path.read_bytes() == b"1" and list(tmp_path.iterdir()) == [path]

    def kept(*_: Any) -> None:
        raise PermissionError(files.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "replace", kept)
    for refuse in (files.require_replaceable, lambda one: files.write_file(one, b"2")):
        with pytest.raises(
            FileError, match=r"a\.csv cannot be written .*; close it in other programs, or save"
        ):
            refuse(path)


def test_folders(tmp_path: Path) -> None:
    folder = files.make_folder(tmp_path / "a" / "b")
    assert folder.is_dir() and files.make_folder(folder) == folder
    with pytest.raises(FileError, match="cannot be made"):
        files.make_folder(folder, exist_ok=False)
    files.write_file(folder / "file", b"1")
    with pytest.raises(FileError, match="cannot be made"):
        files.make_folder(folder / "file" / "c")
    with pytest.raises(FileError, match=r"x cannot be written .*save to another folder"):
        files.write_file(tmp_path / "nowhere" / "x", b"1")
    with pytest.raises(FileError, match=r"x cannot be read .*check that it is there"):
        files.read_file(tmp_path / "nowhere" / "x")


def test_a_stamp_tells_states_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert files.stamp_of(path) is None
    first = files.write_file(path, b"1")
    assert first == files.stamp_of(path)
    assert files.write_file(path, b"2") == files.stamp_of(path) != first


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need rights on Windows")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.geojson").symlink_to(tmp_path / "there.geojson")
    files.write_file(tmp_path / "link.geojson", b"[]")
    assert (tmp_path / "link.geojson").is_symlink()
    assert (tmp_path / "there.geojson").read_bytes() == b"[]"


def test_a_table_comes_back(tmp_path: Path) -> None:
    files.write_table(tmp_path / "a.csv", ["x", "y"], [{"x": 1, "y": "a,b"}, {"y": "µ"}])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").split() == ["x,y", '1,"a,b"', ",µ"]


WRITER = """
import sys
from pathlib import Path
from napari_zoommil.files import write_file
path, letter, times = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
print("ready", flush=True)
while times:
    write_file(path, (letter * 1000 for _ in range(100)))
    times -= 1
"""


def writer(path: Path, letter: str, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), letter, str(times)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout and started.stdout.readline() == "ready\n"
    return started


def whole(path: Path) -> bool:
    content = path.read_bytes()
    return len(content) == 100_000 and len(set(content)) == 1


@POSIX
def test_two_processes_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_file(path, b"0" * 100_000)
    both = [writer(path, letter, 100) for letter in "ab"]
    seen = 0
    while any(one.poll() is None for one in both):
        assert whole(path)
        seen += 1
    assert [one.returncode for one in both] == [0, 0] and seen > 10
    assert whole(path) and list(tmp_path.iterdir()) == [path]


@POSIX
def test_threads_of_one_process_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: files.write_file(path, bytes([n]) * 100_000), range(80)))
    assert whole(path) and list(tmp_path.iterdir()) == [path]


@POSIX
def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for _ in range(5):
        one = writer(path, "a", -1)
        time.sleep(0.1)
        one.send_signal(signal.SIGKILL)
        one.wait()
        assert whole(path)
    files.write_file(path, b"a")
    assert not leftovers(tmp_path) and path.read_bytes() == b"a"


DEAD = 4_194_305
"""No process has such a number."""


def test_only_what_a_dead_process_of_this_machine_and_user_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = machine(), "0" * 8
    kept = [
        tmp_path / f".a.{own}-{os.getpid()}-0a1b2c3d.part",
        tmp_path / f".a.{other}-{DEAD}-0a1b2c3d.part",
        tmp_path / f".b.{own}-{DEAD}-0a1b2c3d.part",
        tmp_path / ".a.part",
        tmp_path / "a",
    ]
    gone = tmp_path / f".a.{own}-{DEAD}-0a1b2c3d.part"
    for path in (*kept, gone):
        path.write_bytes(b"half")
    if hasattr(os, "getuid"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getuid", lambda: -1)
            files.write_file(tmp_path / "a", b"1")
        assert gone.exists(), "it is somebody else's"
    monkeypatch.setattr(files, "_swept", set())
    files.write_file(tmp_path / "a", b"2")
    assert set(tmp_path.iterdir()) == set(kept)


def test_a_temporary_folder_goes_and_takes_those_of_killed_processes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    left, foreign = (tmp_path / f"zoommil-{one}-{DEAD}-0a1b2c3d" for one in (machine(), "0" * 8))
    for folder in (left, foreign):
        folder.mkdir()
        (folder / "state").write_bytes(b"half")
    with files.temporary_folder() as own, files.temporary_folder() as second:
        (own / "a").write_bytes(b"1")
        assert own.is_dir() and second.is_dir(), "that of a living process is left alone"
        assert not left.exists()
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_lock_is_kept_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    with files.locked(tmp_path / "a"):
        with (
            pytest.raises(FileError, match="a is being written by another program"),
            files.locked(tmp_path / "a"),
        ):
            raise AssertionError("two have the lock")
        with files.locked(tmp_path / "b"):
            pass
    with files.locked(tmp_path / "a"):
        pass


def test_endings_are_those_of_the_manifest() -> None:
    manifest = yaml.safe_load((Path(files.__file__).parent / "napari.yaml").read_text(encoding="utf-8"))
    (reader,) = manifest["contributions"]["readers"]
    assert reader["filename_patterns"] == [f"*{ending}" for ending in files.SLIDES]


def test_endings_in_capitals_count_too() -> None:
    assert files.has_ending(Path("a/COHORT.CSV"), files.TABLES)
    assert not files.has_ending(Path("a/csv"), files.TABLES)
    assert files.dialog_filter("GeoJSON", files.GEOJSON) == "GeoJSON (*.geojson *.json)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match=r"^pipe is a pipe, .* and not replaced; give another name$"):
        write_file(tmp_path / "pipe", b"new")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FileError, match="is a pipe, a socket or a device; give a file"):
            read_file(path)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(2 << 20))
    assert len(read_file(path, 2 << 20)) == 2 << 20
    with pytest.raises(FileError, match=r"^a\.csv is larger than 1 MB; give a smaller file$"):
        read_file(path, 1 << 20)


def test_of_a_file_that_is_too_large_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.touch()
    os.truncate(path, 64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="is larger than 8 MB; give a smaller file"):
            read_file(path, 8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
