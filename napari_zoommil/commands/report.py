"""What commands print: descriptions, progress on standard error, JSON on standard output."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, TypeVar

from napari_zoommil.errors import CohortError
from napari_zoommil.jobs import Job, Progress, run
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.finetune import FineTuning
from napari_zoommil.jobs.prediction import Cost
from napari_zoommil.slides import Slide
from napari_zoommil.slides.slide import stem_of

T = TypeVar("T")


def describe(slide: Slide) -> dict[str, Any]:
    """Facts of a slide; label and macro are named, never shown."""
    return {
        "slide": slide.name,
        "vendor": slide.vendor,
        "height": slide.shape[0],
        "width": slide.shape[1],
        "mpp": list(slide.mpp) if slide.mpp else None,
        "magnification": slide.magnification,
        "levels": [
            {"height": level.shape[0], "width": level.shape[1], "downsample": list(level.downsample)}
            for level in slide.levels
        ],
        "associated": list(slide.associated),
        "icc": slide.icc is not None,
        "fingerprint": slide.fingerprint,
    }


def describe_text(found: dict[str, Any]) -> str:
    """:func:`describe` for people."""
    mpp = found["mpp"]
    scale = f"{mpp[1]:.4g} µm/px ({found['magnification']:g}x)" if mpp else "resolution unknown: give --mpp"
    levels = ", ".join(f"{level['downsample'][0]:.4g}" for level in found["levels"])
    profile = "; with a colour profile (--icc applies it)" if found["icc"] else ""
    return (
        f"{found['slide']}\n  {found['width']:,} × {found['height']:,} px, {scale}, {found['vendor']}\n"
        f"  downsamples {levels}; associated images: {', '.join(found['associated']) or 'none'}{profile}"
    )


def print_json(results: list[Any], many: bool = False) -> None:
    """One document: a list where several slides were asked for, else the result itself."""
    if results or many:
        print(json.dumps(results if many else results[0], indent=2, ensure_ascii=False))


def slides_of_table(path: Path) -> list[Path]:
    """The column ``slide`` of a CSV, relative to it.

    Raises
    ------
    CohortError
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            found = [path.parent / row["slide"] for row in csv.DictReader(handle)]
    except (OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise CohortError(f"{path} is not a CSV table with the column slide ({error})") from error
    if not found:
        raise CohortError(f"{path} names no slides")
    return found


def folder_of(slide: Slide, paths: list[Path], out: Path) -> Path:
    """Where the results of one of several slides go: a folder of its own, also among its namesakes."""
    if len(paths) == 1:
        return out
    stems = [stem_of(path) for path in paths]
    unique = stems.count(slide.stem) == 1
    return out / (slide.stem if unique else f"{slide.stem}-{slide.fingerprint[:8]}")


def file_of(slide: Slide, paths: list[Path], out: Path) -> Path:
    """Where the cells of one of several slides go: into the file that was named, or a folder of that name."""
    return out if len(paths) == 1 else out / f"{folder_of(slide, paths, out).name}.geojson"


def describe_cost(cost: Cost) -> str:
    """Patches and seconds of a prediction, for people."""
    taken = f", {sum(cost.taken):,} of them encoded before" if sum(cost.taken) else ""
    return f"{sum(cost.patches):,} patches{taken}, {cost.seconds:.1f} s"


def describe_cells(found: Detection) -> str:
    """How many cells of which class, for people."""
    density = found.per_mm2()
    counts = ", ".join(
        f"{count:,} {name} ({density[name]:,.0f}/mm²)" for name, count in found.counts().items()
    )
    return f"{found.slide}: {counts} in {found.area_mm2:.3g} mm²"


def describe_training(found: FineTuning) -> str:
    """What a fine-tuning began with and came to, for people."""
    points = ", ".join(f"{count} {name}" for name, count in found.points.items() if count)
    cells = found.kind == "cells"
    seen = f"{found.windows} windows" if cells else f"{found.patches:,} patches"
    lines = [f"{found.model}: {points} in {seen}, {found.seconds:.0f} s"]
    for name, value in found.metrics.items():
        if f"before_{name}" in found.metrics:
            before, what = found.metrics[f"before_{name}"], name.replace("_", " ")
            where = " on held-out windows" if cells and name != "score_threshold" else ""
            lines.append(f"  {what}{where} {before:.3g} → {value:.3g}")
    return "\n".join(lines)


def drive(job: Job[T], title: str, quiet: bool = False) -> T:
    """Run a job to its result with a bar on standard error."""
    if quiet:
        return run(job)
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", title=title, total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=progress.note)

        return run(job, show)
