"""Trainings side by side, a process each: on a CPU, several on a core of their own are done sooner than one
after the other on all cores."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from napari_zoommil.errors import JobError

MOST = 4
"""Processes; each holds a training in memory."""

SECONDS_BETWEEN = 0.2

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Standing:
    """How far trainings are: the share that is done of all, 0 to 1, and which are under way."""

    share: float
    running: tuple[str, ...]


def processes(device: torch.device) -> int:
    """How many trainings a device takes side by side: a GPU, one."""
    return min(MOST, os.cpu_count() or 1) if device.type == "cpu" else 1


def side_by_side(
    work: Callable[..., None], tasks: Mapping[str, tuple[Any, ...]], count: int
) -> Generator[Standing, None, None]:
    """Do tasks, ``count`` at a time; closed early, it stops those under way.

    A script that calls this does so under ``if __name__ == "__main__"``, for the processes import it.

    Parameters
    ----------
    work : callable
        Called in another process with a task's arguments and a function that takes the share that is done.
    tasks : mapping of str to tuple
        Name → arguments.
    count : int

    Raises
    ------
    JobError
        If one of them fails; what it failed of is on standard error.
    """
    spawning = multiprocessing.get_context("spawn")  # torch does not survive a fork
    threads = max(1, (os.cpu_count() or 1) // count)
    left, running = list(tasks), dict[str, tuple[SpawnProcess, Any]]()
    try:
        while left or running:
            while left and len(running) < count:
                name, done = left.pop(0), spawning.Value("d", 0.0, lock=False)
                process = spawning.Process(target=_do, args=(work, tasks[name], done, threads), daemon=True)
                process.start()
                running[name] = process, done
            time.sleep(SECONDS_BETWEEN)
            for name in [name for name, (process, _) in running.items() if process.exitcode is not None]:
                if running.pop(name)[0].exitcode:
                    raise JobError(f"{name} failed; what of is said above")
            finished = len(tasks) - len(left) - len(running) + sum(done.value for _, done in running.values())
            yield Standing(finished / len(tasks), tuple(running))
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()


def _do(work: Callable[..., None], arguments: tuple[Any, ...], done: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(share: float) -> None:
        done.value = share

    work(*arguments, tell)


def _end_with_parent() -> None:
    """Whoever began the trainings was killed: nobody waits for this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
