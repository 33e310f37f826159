from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from napari_zoommil.errors import JobError
from napari_zoommil.experiments.side_by_side import MOST, Standing, Tell, processes, side_by_side


def leave(path: Path, seconds: float, tell: Tell) -> None:
    path.with_suffix(".begun").touch()
    tell(0.5)
    time.sleep(seconds)
    path.write_text(str(os.getpid()))


def fail(_path: Path, _seconds: float, _tell: Tell) -> None:
    raise ValueError("nothing to do")


def test_each_task_has_a_process(tmp_path: Path) -> None:
    tasks = {name: (tmp_path / name, 1.0) for name in "abc"}
    seen = list(side_by_side(leave, tasks, 2))
    assert {int((tmp_path / name).read_text()) for name in tasks}.isdisjoint({os.getpid()})
    shares = [each.share for each in seen]
    assert shares == sorted(shares) and seen[-1] == Standing(1.0, ())
    assert max(len(each.running) for each in seen) == 2


def test_closed_early_it_stops_what_is_under_way(tmp_path: Path) -> None:
    job = side_by_side(leave, {"a": (tmp_path / "a", 60.0)}, 1)
    while not (tmp_path / "a.begun").exists():
        assert next(job).running == ("a",)
    began = time.monotonic()
    job.close()
    assert time.monotonic() - began < 30 and not multiprocessing.active_children()


def test_a_failure_ends_all(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="a failed"):
        list(side_by_side(fail, {"a": (tmp_path, 0.0)}, 1))


def test_a_gpu_takes_one_at_a_time() -> None:
    assert processes(torch.device("cuda")) == 1
    assert 1 <= processes(torch.device("cpu")) <= MOST
