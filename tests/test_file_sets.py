"""Files that belong together: the old ones or the new ones, whoever is killed while they are written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_zoommil.errors import FileError
from napari_zoommil.file_sets import finish_replacing, replaced_together

NAMES = st.sets(st.sampled_from("abcdef"))


def write(folder: Path, names: set[str], content: str, of: str = "maps") -> None:
    with replaced_together(folder, of) as part:
        for name in names:
            (part / name).write_text(content)


def seen(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=NAMES, new=NAMES, moves=st.integers(0, 8))
def test_a_set_is_the_old_one_or_the_new_one(
    tmp_path_factory: pytest.TempPathFactory, old: set[str], new: set[str], moves: int
) -> None:
    """Killed after any number of moves, the next reader finds the new set, with nothing of the old one."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "own").write_text("a user's")
    write(folder, old, "old")
    left = [moves]

    def move(source: os.PathLike[str], target: os.PathLike[str], replace=os.replace) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_zoommil.file_sets.os.replace", move)
        with suppress(KeyboardInterrupt):
            write(folder, new, "new")
    finish_replacing(folder, "maps")
    names, content = (new, "new") if moves > 1 else (old, "old")  # the first writes the list of names
    assert seen(folder) == {name: content for name in names} | {"own": "a user's"}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set()


def test_a_folder_that_cannot_be_removed_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path, {"a", "b"}, "new")
    (tmp_path / ".maps.complete").mkdir()  # as of a process that was killed at the very end
    finish_replacing(tmp_path, "maps")
    assert seen(tmp_path) == {"a": "new", "b": "new"}
    write(tmp_path, {"b"}, "newer")
    assert seen(tmp_path) == {"b": "newer"}


def test_sets_of_other_names_stay(tmp_path: Path) -> None:
    write(tmp_path, {"a", "b"}, "first", "attention")
    write(tmp_path, {"b", "c"}, "second", "grad-cam")
    write(tmp_path, {"c"}, "third", "grad-cam")
    assert seen(tmp_path) == {"a": "first", "c": "third"}


def test_what_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, {"a"}, "old")
    with pytest.raises(ValueError, match="disk"), replaced_together(tmp_path, "maps") as part:
        (part / "a").write_text("new")
        raise ValueError("disk")
    assert seen(tmp_path) == {"a": "old"}
    assert not list(tmp_path.glob(".*.part"))


def test_a_list_of_a_stranger_deletes_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("kept")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / ".maps.files.json").write_text('["../keep", "/etc/hosts", 3]')
    write(folder, {"a"}, "new")
    assert (tmp_path / "keep").read_text() == "kept"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_writer_is_swept_and_does_not_lock(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from napari_zoommil.file_sets import replaced_together\n"
        "with replaced_together(Path(sys.argv[1]), 'maps') as part:\n"
        "    (part / 'a').write_text('half'); print('in', flush=True); time.sleep(60)\n"
    )
    write(tmp_path, {"a"}, "old")
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        with pytest.raises(FileError, match="being written by another program"):
            write(tmp_path, {"a"}, "other")
        child.send_signal(signal.SIGKILL)
    assert seen(tmp_path) == {"a": "old"}
    write(tmp_path, {"a"}, "new")
    assert seen(tmp_path) == {"a": "new"}
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
