"""Parallel trainings, one process each: on a CPU, several trainings with one core each are faster than one
after the other with all cores."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from napari_zoommil.errors import JobError

MOST = 4
"""Most processes; each needs memory for a training."""

SECONDS_BETWEEN = 0.2

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Standing:
    """Progress of trainings: the share of all that is done, 0 to 1, and the names of the running ones."""

    share: float
    running: tuple[str, ...]


def processes(device: torch.device) -> int:
    """Number of parallel trainings on a device; one on a GPU."""
    return min(MOST, cores()) if device.type == "cpu" else 1


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def side_by_side(
    work: Callable[..., None], tasks: Mapping[str, tuple[Any, ...]], count: int
) -> Generator[Standing, None, None]:
    """Run tasks, ``count`` at a time; closing the generator stops the running ones.

    A script must call this under ``if __name__ == "__main__"``, because the processes import it.

    Parameters
    ----------
    work : callable
        Called in another process with a task's arguments and a function that reports the share done.
    tasks : mapping of str to tuple
        Name → arguments.
    count : int

    Raises
    ------
    JobError
        If one of them fails; its error is on standard error.
    """
    spawning = multiprocessing.get_context("spawn")  # torch does not support fork
    threads = max(1, cores() // count)
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
                    raise JobError(f"{name} failed; its error is printed above")
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
    """End this process when its parent has been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
