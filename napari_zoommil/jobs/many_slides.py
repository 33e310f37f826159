"""One job for many slides, with an outcome per slide; the next slide is prepared during the current one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from inspect import signature
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from napari_zoommil.bags.feature_files.hdf5 import is_feature_file
from napari_zoommil.jobs.features import grid_key
from napari_zoommil.jobs.outcomes import FAILURES, OF_ALL, PARTS, Outcome
from napari_zoommil.jobs.progress import Job, Progress, retold
from napari_zoommil.jobs.shards import shard_of
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.read_ahead import in_order
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import patch_grid, read_patch
from napari_zoommil.slides.tissue_published import DEFAULT

FIRST_PATCHES = 128
"""Patches whose tiles are decoded in advance: two batches."""

READING = ("magnifications", "patch_size", "min_tissue", "tissue_detector", "overlap", "mpp", "icc", "store")
"""Parameters of jobs that determine what they read first; the model supplies those that are not given."""


def over(
    job: Callable[..., Job[Any]],
    slides: Iterable[Path | str],
    *,
    then: Callable[[Path, Any], Any] | None = None,
    shard: str | None = None,
    cluster: str | None = None,
) -> Job[tuple[Outcome[Any], ...]]:
    """Run a job on each of many slides; the failure of one slide does not stop the others.

    During the job on a slide, the tissue of the next slide is detected and its first patches are decoded, if
    the job reads patches. Encoder and model are loaded once.

    Parameters
    ----------
    job : callable
        A function of a slide that returns a job, such as ``partial(predict, model="demo")``.
    slides : iterable of Path
    then : callable, optional
        ``then(slide, result)`` is called for each result, for example to write it; its return value
        replaces the result.
    shard : str, optional
        Only the slides of this shard, ``i/n`` (see :func:`~napari_zoommil.jobs.shards.shard_of`).
    cluster : str, optional
        Spread the slides over the workers of a dask.distributed cluster, see
        :func:`~napari_zoommil.jobs.cluster.on_cluster`; otherwise they are worked on here, one by one.

    Yields
    ------
    Progress
        Over all slides. ``partial`` is that of the job, and the :class:`Outcome` at the end of a slide.

    Returns
    -------
    tuple of Outcome
        In the order of the slides.

    Raises
    ------
    ConsentError, EncoderError
        If the encoder, which is the same for every slide, cannot be loaded.
    JobError
        If the shard is malformed, or there is no such cluster.
    """
    paths = [Path(slide) for slide in slides]
    if shard is not None:
        paths = shard_of(paths, shard)
    if cluster is not None:
        from napari_zoommil.jobs.cluster import on_cluster

        return (yield from on_cluster(job, paths, cluster, then))
    outcomes: list[Outcome[Any]] = []
    with closing(with_next_ready(paths, _preparation(job))) as ready:
        for number, path in enumerate(ready):
            try:
                result = yield from retold(job(path), _part_of(number, len(paths)))
                outcomes.append(Outcome(path, result).then(then))
            except OF_ALL:
                raise
            except FAILURES as error:
                outcomes.append(Outcome(path, error=error))
            done, total = PARTS * (number + 1), PARTS * len(paths)
            note = _title(number, len(paths)) + ("failed" if outcomes[-1].error else "done")
            yield Progress(done, total, note, outcomes[-1])
    return tuple(outcomes)


def _title(number: int, count: int) -> str:
    return f"slide {number + 1:,} of {count:,}: " if count > 1 else ""


def _part_of(number: int, count: int) -> Callable[[Progress], Progress]:
    """Converts the progress on one of several slides to that on all; unchanged for a single slide."""

    def tell(progress: Progress) -> Progress:
        if count == 1:
            return progress
        share = min(progress.done / progress.total, 1.0) if progress.total else 0.0
        done, note = round(PARTS * (number + share)), _title(number, count) + progress.note
        return replace(progress, done=done, total=PARTS * count, note=note, seconds_left=None)

    return tell


def _preparation(job: Callable[..., Job[Any]]) -> Callable[[Path, Event], Slide | None]:
    """The function that prepares a slide for a job, by the job's parameters."""
    chosen = {name: parameter.default for name, parameter in signature(job).parameters.items()}

    def prepare(path: Path, stop: Event) -> Slide | None:
        if "min_tissue" not in chosen or chosen.get("features") or is_feature_file(path):
            return None  # the job reads no patches
        reading = {name: chosen[name] for name in READING if name in chosen}
        if "magnifications" not in chosen:
            from napari_zoommil.models.spec import read_spec

            spec = read_spec(chosen["model"])
            if spec.takes == "image":
                return None
            reading |= {"magnifications": spec.magnifications, "patch_size": spec.patch_size}
            reading["tissue_detector"] = spec.tissue_detector
            if reading["min_tissue"] is None:
                reading["min_tissue"] = spec.min_tissue
        return make_ready(path, stop, **reading)

    return prepare


def with_next_ready(
    paths: Sequence[Path], prepare: Callable[[Path, Event], Slide | None]
) -> Generator[Path, None, None]:
    """The paths one by one; during the work on each, ``prepare(next path, stop)`` runs on a thread.

    The slide that it returns stays open until the work on that slide is done, so that its decoded tiles stay
    in the cache. Errors during preparation are ignored; they occur again in the work on that slide.
    """
    stop, opened = Event(), dict[int, Slide]()

    def ready(place: int) -> int:
        if place:  # the first slide is needed at once
            with suppress(*FAILURES):
                slide = prepare(paths[place], stop)
                if slide is not None:
                    opened[place] = slide
        return place

    def close() -> None:
        while opened:
            opened.popitem()[1].close()

    with ExitStack() as ending:
        ending.callback(close)
        # one thread, because two threads that detect the tissue of one slide are not faster
        coming = ending.enter_context(closing(in_order(ready, range(len(paths)), 1, 1, name="next-slide")))
        ending.callback(stop.set)
        for place in coming:
            yield paths[place]
            if place in opened:
                opened.pop(place).close()


def make_ready(
    path: Path,
    stop: Event,
    *,
    magnifications: tuple[float, ...],
    patch_size: int,
    min_tissue: float,
    mpp: float | None = None,
    icc: bool = False,
    store: Path | None = None,
    overlap: float = 0.0,
    tissue_detector: str = DEFAULT,
) -> Slide | None:
    """Detect a slide's tissue and decode the tiles of its first patches, until ``stop`` is set.

    The tissue stays in memory for the next job on the slide, the tiles as long as the returned slide is open.
    If the patch grid is in ``store`` (the user's cache by default), nothing is done.
    """
    from napari_zoommil.bags.cache import open_cache

    with ExitStack() as stack:
        slide = stack.enter_context(Slide.open(path, mpp, icc))
        key = grid_key(
            slide, magnifications, patch_size, min_tissue, overlap=overlap, tissue_detector=tissue_detector
        )
        if open_cache(store).grid(slide.fingerprint, key) is not None:
            return None
        with closing(find_tissue(slide, tissue_detector)) as looking:
            try:
                while not stop.is_set():
                    next(looking)
                return None
            except StopIteration as found:
                tissue = found.value
        grid = patch_grid(slide, tissue, magnifications, patch_size, min_tissue, key.overlap)
        for row in np.arange(len(grid.levels[0]))[:FIRST_PATCHES]:
            if stop.is_set():
                return None
            read_patch(slide, grid, 0, int(row))
        stack.pop_all()
        return slide
