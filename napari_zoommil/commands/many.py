"""A job on many slides: what becomes of each is printed as it happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from napari_zoommil.commands.report import Printer, Told, drive
from napari_zoommil.jobs import Job
from napari_zoommil.jobs.many_slides import Outcome, over


def each_slide(
    job: Callable[..., Job[Any]], paths: list[Path], told: Callable[[Path, Any], Told], json: bool
) -> int:
    """Do a job on each slide and return 1 if any failed: one bad slide stops no others.

    Parameters
    ----------
    job : callable
        Takes a slide and returns a job.
    paths : list of Path
    told : callable
        ``told(path, result)`` writes a result, and says what is printed of it.
    json : bool
        Print one document at the end, and no bar.
    """
    printer = Printer(json, len(paths) > 1)
    titles = iter([path.name for path in (*paths[1:], *paths[-1:])])

    def show(outcome: Outcome[Told]) -> str:
        if outcome.error is not None:
            printer.failed(outcome.error)
        else:
            printer.tell(outcome.slide, cast(Told, outcome.result))
        return next(titles)

    title = paths[0].name if paths else ""
    drive(over(job, paths, then=told), title, quiet=json, on_outcome=show)
    return printer.end()
