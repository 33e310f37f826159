from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from napari_zoommil.errors import FileError, ModelError
from napari_zoommil.model_folder import WEIGHTS
from napari_zoommil.training.run import (
    BEST,
    CHECKPOINT,
    CURVES,
    FOLDS,
    LOCK,
    OF_MODEL,
    PLAN,
    RUN,
    RunFolder,
    has_progress,
    in_use,
    is_trained,
    provenance_of,
    read_curves,
    require_elsewhere,
    require_free,
    using,
    working_in,
)
from napari_zoommil.unfinished_files import machine

MADE_OF = {"points": {"cell": 3}, "settings": {"crop": 9, "anchors": (1, 2)}, "versions": {"torch": "1"}}


DEAD = 4_194_305
"""No process has such a number."""


def begun(folder: Path, epochs: int = 2) -> RunFolder:
    """A run that was cut off after some epochs."""
    folder.mkdir(exist_ok=True)
    run = RunFolder(folder, MADE_OF)
    assert run.begin(resume=False) is None
    for epoch in range(epochs):
        run.add_line(epoch, ("train_loss", "f1"), {"train_loss": 1 / (epoch + 1)})
    (folder / CHECKPOINT).write_bytes(b"state")
    return run


def test_curves_are_lines_of_what_was_measured(tmp_path: Path) -> None:
    run = begun(tmp_path, 3)
    assert (tmp_path / CURVES).read_text().splitlines() == [
        "epoch,train_loss,f1",
        "0,1,",
        "1,0.5,",
        "2,0.333333,",
    ]
    assert read_curves(tmp_path)[1] == {"epoch": 1, "train_loss": 0.5}
    run.keep_lines(2)
    assert [line["epoch"] for line in read_curves(tmp_path)] == [0, 1]
    (tmp_path / CURVES).write_text("epoch,train_loss\n0,no number\n")
    assert read_curves(tmp_path) == () == read_curves(tmp_path / "gone")


def test_a_run_goes_on_with_the_same_only(tmp_path: Path) -> None:
    begun(tmp_path)
    same = RunFolder(tmp_path, MADE_OF | {"versions": {"torch": "2"}})
    assert same.begin(resume=True) == tmp_path / CHECKPOINT
    assert provenance_of(tmp_path)["versions"] == {"torch": "1"}, "it was begun with"
    with pytest.raises(ModelError, match="other data, settings or model"):
        RunFolder(tmp_path, MADE_OF | {"points": {"cell": 4}}).begin(resume=True)
    assert len(read_curves(tmp_path)) == 2


def test_what_a_killed_run_was_writing_is_neither_in_the_way_nor_left(tmp_path: Path) -> None:
    """Each file is written beside its place first."""
    for resume in (True, False):
        tmp_path.mkdir(exist_ok=True)
        for name in (RUN, CHECKPOINT):
            (tmp_path / f".{name}.{machine()}-{DEAD}-0a1b2c3d.part").write_bytes(b"half")
        with working_in(tmp_path, overwrite=False, resume=resume):
            RunFolder(tmp_path, MADE_OF).begin(resume)
            assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, RUN]


def test_a_run_that_does_not_go_on_begins_anew(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / BEST).write_bytes(b"weights")
    assert RunFolder(tmp_path, {"points": {}}).begin(resume=False) is None
    assert [path.name for path in tmp_path.iterdir()] == [RUN] and provenance_of(tmp_path) == {"points": {}}


def test_a_finished_run_is_a_model_with_its_figures(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert has_progress(tmp_path) and not is_trained(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    run.finish({"f1": 0.5})
    assert is_trained(tmp_path) and provenance_of(tmp_path)["metrics"] == {"f1": 0.5}
    assert not (tmp_path / CHECKPOINT).exists()
    with pytest.raises(ModelError, match="is finished"):
        run.begin(resume=True)
    for name in OF_MODEL:
        (tmp_path / name).write_bytes(b"of the old model")
    (tmp_path / PLAN).touch()
    (tmp_path / FOLDS / "1").mkdir(parents=True)
    assert run.begin(resume=False) is None and not is_trained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {RUN, PLAN}, "nobody takes the old model for the new"
    with pytest.raises(ModelError, match="holds the model that the training starts from"):
        require_elsewhere(tmp_path, str(tmp_path / ".." / tmp_path.name))
    require_elsewhere(tmp_path, "demo")


@pytest.mark.parametrize("content", [None, "no json", "[]"])
def test_a_folder_that_tells_nothing_is_no_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / RUN).write_text(content)
    assert provenance_of(tmp_path) == {} and not is_trained(tmp_path) and not has_progress(tmp_path)


def test_work_that_came_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), working_in(tmp_path / "new", overwrite=False):
        RunFolder(tmp_path / "new", MADE_OF).begin(resume=False)
        raise RuntimeError
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").write_text("not ours")
    with working_in(tmp_path, overwrite=True):
        RunFolder(tmp_path, MADE_OF).begin(resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with working_in(tmp_path, overwrite=True):
        begun(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", RUN, CURVES, CHECKPOINT, LOCK}


def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with working_in(folder, overwrite=True):
        begun(folder)
        assert in_use(folder)
        with (
            pytest.raises(ModelError, match="another training is running in"),
            working_in(folder, overwrite=True),
        ):
            pass
        assert (folder / CHECKPOINT).exists(), "who was refused takes nothing away"
    assert not in_use(folder) and not in_use(tmp_path)


def test_another_process_is_noticed_until_it_ends(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from napari_zoommil.training.run import working_in\n"
            "with working_in(Path(sys.argv[1]), True): print('in', flush=True); sys.stdin.read()",
            str(tmp_path / "new"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "in\n"
    assert in_use(tmp_path / "new")
    with pytest.raises(ModelError, match="another training is running"), using(tmp_path / "new", 0):
        pass
    child.kill()
    child.wait()
    assert not in_use(tmp_path / "new")


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be made"), working_in(tmp_path / "file", overwrite=True):
        pass
    monkeypatch.setattr("os.access", lambda *_: False)
    with (
        pytest.raises(FileError, match="cannot be written to; choose another folder"),
        working_in(tmp_path, overwrite=True),
    ):
        pass


def test_the_state_of_runs_is_told_without_torch() -> None:
    code = "import sys, napari_zoommil.training.run; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_is_whole_while_it_is_written(tmp_path: Path) -> None:
    run, stop = begun(tmp_path), threading.Event()
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    seen: list[bool] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(bool(json.loads((tmp_path / RUN).read_text())))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(50):
        run.finish({"f1": number})
    stop.set()
    reader.join()
    assert seen and all(seen)


def test_a_folder_that_holds_something_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds files already; choose another folder, or give --overwrite"):
        require_free(tmp_path, resume=False)
    with pytest.raises(ModelError, match="holds files"):
        require_free(tmp_path, resume=True)
    begun(tmp_path)
    with pytest.raises(ModelError, match=r"a training that was cut off \(--resume goes on with it\)"):
        require_free(tmp_path, resume=False)
    require_free(tmp_path, resume=True)
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    with pytest.raises(ModelError, match="holds a model"), working_in(tmp_path, overwrite=False):
        pass
    assert (tmp_path / WEIGHTS).read_bytes() == b"weights" and not (tmp_path / LOCK).exists()
    with working_in(tmp_path, overwrite=True):
        assert (tmp_path / LOCK).exists()


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    require_free(tmp_path / "not there", resume=False)
    (tmp_path / LOCK).write_text("")  # a lock alone is what a killed run leaves
    require_free(tmp_path, resume=False)
