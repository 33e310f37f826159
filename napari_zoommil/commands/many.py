"""The same work on many slides: one bad slide stops no others, and the next is made ready meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

from napari_zoommil.commands.report import print_json, slides_of_table
from napari_zoommil.errors import ZoomMILError, first_line
from napari_zoommil.jobs.many_slides import make_ready, with_next_ready
from napari_zoommil.slides.readers.tiles import damage_note


def slide_paths(slides: list[Path]) -> list[Path]:
    """Slides named on the command line, those of a CSV in its place."""
    return [
        found for path in slides for found in (slides_of_table(path) if path.suffix == ".csv" else [path])
    ]


def ready_for_model(options: dict[str, Any]) -> Callable[[Path, Event], None]:
    """What makes a slide ready for the model that the options of a command name."""

    def prepare(path: Path, stop: Event) -> None:
        from napari_zoommil.models.spec import read_spec

        spec = read_spec(options["model"])
        share = options.get("min_tissue")
        make_ready(
            path,
            stop,
            magnifications=spec.magnifications,
            patch_size=spec.patch_size,
            min_tissue=spec.min_tissue if share is None else share,
            mpp=options["mpp"],
            icc=options["icc"],
            store=options.get("store"),
        )

    return prepare


def each_slide(
    paths: list[Path],
    one: Callable[[Path], Any],
    json: bool,
    prepare: Callable[[Path, Event], None] | None = None,
) -> int:
    """Work on each slide and return 1 if any failed: one bad slide stops no others.

    While one is worked on, ``prepare`` makes the next one ready. Results of those that went well are
    printed as ``json`` at the end.
    """
    results, failed = [], 0
    with closing(with_next_ready(paths, prepare or (lambda path, stop: None))) as slides:
        for path in slides:
            try:
                results.append(one(path))
            except (ZoomMILError, OSError, RuntimeError) as error:
                print(f"error: {sentence(error)}", file=sys.stderr)
                failed = 1
    if json:
        print_json(results, many=len(paths) > 1)
    return failed


def warn_of_damage(path: Path, tiles: int) -> None:
    """Say on standard error that a slide is not whole; its result stands."""
    if tiles:
        print(f"warning: {path.name}: {damage_note(tiles)}", file=sys.stderr)


def sentence(error: Exception) -> str:
    """One line, which names the type of what is no error of our own."""
    if isinstance(error, ZoomMILError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}"
    return f"{type(error).__name__}: {first_line(error)}"
