"""A job on many slides, with the result of each printed when it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from napari_zoommil.commands.report import Printer, Told, drive
from napari_zoommil.jobs import Job
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.outcomes import Outcome
from napari_zoommil.jobs.shards import shard_of


def each_slide(
    job: Callable[..., Job[Any]],
    paths: list[Path],
    told: Callable[[Path, Any], Told],
    json: bool,
    *,
    shard: str | None = None,
    cluster: str | None = None,
) -> int:
    """Run a job on each slide; returns 1 if any failed. A failure does not stop the others.

    Parameters
    ----------
    job : callable
        A function of a slide that returns a job.
    paths : list of Path
    told : callable
        ``told(path, result)`` writes a result and returns what to print.
    json : bool
        Print one document at the end, and no progress bar.
    shard, cluster : str, optional
        As for :func:`~napari_zoommil.jobs.many_slides.over`.
    """
    printer = Printer(json, len(paths) > 1 or shard is not None)
    if shard is not None:
        count, paths = len(paths), shard_of(paths, shard)
        if not paths:
            print(
                f"shard {shard} holds none of the {count:,} slide{'s' if count != 1 else ''}", file=sys.stderr
            )
    # slides of a cluster are worked on at the same time
    titles = iter([cluster or path.name for path in (*paths[1:], *paths[-1:])])

    def show(outcome: Outcome[Told]) -> str:
        if outcome.error is not None:
            printer.failed(outcome.error)
        else:
            printer.tell(outcome.slide, cast(Told, outcome.result))
        return next(titles)

    title = cluster or (paths[0].name if paths else "")
    drive(over(job, paths, then=told, cluster=cluster), title, quiet=json, on_outcome=show)
    return printer.end()
