"""A job on many slides, spread over the workers of a dask.distributed cluster.

Workers get the names of slides and plain values, and work in the store, which all of them share. What a
worker that dies has stored stays, and the slide goes on from there on another worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import FileError, JobError, StoreError, first_line
from napari_zoommil.jobs.cluster_task import Answer, Task, work_on
from napari_zoommil.jobs.outcomes import FAILURES, PARTS, Outcome
from napari_zoommil.jobs.progress import Job, Progress

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10
"""Time after which a scheduler that does not answer is given up."""

WAITING = (
    "slides wait within a worker of {threads} threads, which has one slide at a time; start workers with "
    "--nthreads 1, so that idle ones get these slides"
)

POLL_SECONDS = 1.0
"""Longest time between two opportunities to cancel."""


def on_cluster(
    job: Callable[..., Job[Any]],
    slides: Sequence[Path],
    address: str,
    then: Callable[[Path, Any], Any] | None = None,
) -> Job[tuple[Outcome[Any], ...]]:
    """Run a job on each of many slides on the workers of a cluster.

    A worker has one slide at a time; one with several threads is sent more, which wait there (progress
    says so). Slides and store must have the same paths on all machines. If a worker dies, its slide is given
    to another one (three times, as the cluster is configured by default).

    Parameters
    ----------
    job : callable
        A job of this package, or a ``partial`` of one with plain values.
    slides : sequence of Path
    address : str
        Address of the scheduler, such as ``tcp://host:8786``, or its scheduler file.
    then : callable, optional
        As for :func:`~napari_zoommil.jobs.many_slides.over`; it is called here.

    Yields
    ------
    Progress
        Over all slides. ``partial`` is the :class:`Outcome` at the end of a slide.

    Returns
    -------
    tuple of Outcome
        In the order of the slides.

    Raises
    ------
    JobError
        If dask.distributed is not installed, there is no such scheduler, its workers have another version of
        this package, or the job has parameters that cannot be sent.
    FileError
        If there is no such scheduler file.
    StoreError
        If the store cannot be written, or a worker does not see it.
    EncoderError
        If the encoder cannot be loaded on a worker.
    """
    with ExitStack() as stack:
        client = stack.enter_context(connected(address))
        task = stack.enter_context(_shown(Task.of(job)))
        run = _Run(slides, client, address)
        yield Progress(0, PARTS * len(slides), f"sending slides to {address}")
        stack.callback(run.cancel)
        run.send(task)
        outcomes: dict[int, Outcome[Any]] = {}
        while len(outcomes) < len(slides):
            number, answer = run.next()
            if answer is not None and number not in outcomes:
                if answer.of_all is not None:
                    raise answer.of_all
                outcomes[number] = Outcome(slides[number], answer.result, answer.error).then(then)
                run.end(number)
            yield run.progress(len(outcomes), outcomes.get(number) if answer is not None else None)
    return tuple(outcomes[number] for number in range(len(slides)))


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address, or of a scheduler file.

    Raises
    ------
    JobError
        If dask.distributed is not installed, or no scheduler answers.
    FileError
        If there is no such scheduler file.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise JobError(
            "a cluster needs dask.distributed; install it with: pip install 'napari-zoommil[cluster]'"
        ) from error
    is_file = Path(address).suffix == ".json"
    if is_file and not Path(address).is_file():
        raise FileError(f"there is no scheduler file {address}; give the scheduler's address or its file")
    where = {"scheduler_file": address} if is_file else {"address": address}
    try:
        client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(
            f"no dask scheduler answers at {address} ({first_line(error)}); give an address such as "
            "tcp://host:8786, where 'dask scheduler' runs"
        ) from error
    with client:
        yield client


@contextmanager
def _shown(task: Task) -> Iterator[Task]:
    """The task with a file in its store, by which workers recognise the store."""
    store = task.values.get("store")
    if not isinstance(store, Path):
        yield task
        return
    from napari_zoommil.bags.cache import unwritable

    sign = store / f".shared-{uuid.uuid4().hex}"
    try:
        store.mkdir(parents=True, exist_ok=True)
        sign.touch()
    except OSError as error:
        raise StoreError(unwritable(store, error)) from error
    try:
        yield task.with_sign(sign)
    finally:
        sign.unlink(missing_ok=True)


@dataclass
class _Run:
    """The slides on their way: what is told of them, and their futures."""

    slides: Sequence[Path]
    client: Client
    address: str
    name: str = field(default_factory=lambda: f"napari-zoommil-{uuid.uuid4().hex}")
    note: str = ""
    hint: str = ""
    shares: dict[int, float] = field(default_factory=dict)
    futures: dict[int, Future] = field(default_factory=dict)
    heard: SimpleQueue[tuple[int, Any]] = field(default_factory=SimpleQueue)

    def send(self, task: Task) -> None:
        self.client.subscribe_topic(self.name, lambda event: self.heard.put((event[1]["number"], event[1])))
        for number, slide in enumerate(self.slides):
            future = self.client.submit(
                work_on, task, slide.absolute(), number, self.name, key=f"{self.name}-{number}", pure=False
            )
            future.add_done_callback(lambda done, number=number: self.heard.put((number, done)))
            self.futures[number] = future

    def next(self) -> tuple[int, Answer | None]:
        """Wait for what is told next: the number of a slide, and its answer if it is done."""
        try:
            number, told = self.heard.get(timeout=POLL_SECONDS)
        except Empty:
            if self.client.status == "closed":
                raise self._gone() from None
            if not self.client.ncores():
                self.note = f"waiting for workers of {self.address}"
            return -1, None
        if not isinstance(told, dict):
            return number, self._answer(number, told)
        if "threads" in told:
            self.hint = WAITING.format(**told)
        elif number in self.futures:
            self.shares[number], self.note = told["share"], told["note"]
        return number, None

    def _answer(self, number: int, future: Future) -> Answer:
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise self._gone()
        try:
            return future.result()
        except KilledWorker:
            return Answer(
                error=JobError(f"{self.slides[number].name}: the workers that had it died one after another")
            )
        except ImportError as error:
            raise JobError(
                f"a worker of {self.address} cannot import what it needs ({first_line(error)}); install "
                "napari-zoommil in its environment"
            ) from error
        except FAILURES as error:
            return Answer(error=error)

    def _gone(self) -> JobError:
        return JobError(
            f"the scheduler at {self.address} is gone; start it and run this again: what is stored is not "
            "made again"
        )

    def end(self, number: int) -> None:
        """Release what is done."""
        self.shares[number] = 1.0
        self.futures.pop(number).release()

    def progress(self, done: int, outcome: Outcome[Any] | None) -> Progress:
        note = f"{outcome.slide.name} {'failed' if outcome.error else 'done'}" if outcome else self.note
        count = len(self.slides)
        told = f"{done:,} of {count:,} slides done" + "".join(f"; {one}" for one in (note, self.hint) if one)
        return Progress(round(PARTS * sum(self.shares.values())), PARTS * count, told, outcome)

    def cancel(self) -> None:
        """Take back slides that are not done; workers stop within a batch."""
        from distributed import Event

        self.client.unsubscribe_topic(self.name)
        if self.futures and self.client.status == "running":
            Event(self.name, client=self.client).set()
            self.client.cancel(list(self.futures.values()))
