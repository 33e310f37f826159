"""Output of commands: descriptions and JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_zoommil.errors import ZoomMILError, first_line
from napari_zoommil.familiarity import Verdict
from napari_zoommil.files import TABLES, has_ending
from napari_zoommil.geometry import mpp_text
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide
from napari_zoommil.slides.readers.base import slide_format
from napari_zoommil.slides.readers.tiles import damage_note
from napari_zoommil.slides.slide import stem_of
from napari_zoommil.training.mil.cohort import slides_of_table
from napari_zoommil.training.mil.folders import pictures_in

if TYPE_CHECKING:  # info does not import jobs, so that it starts fast
    from napari_zoommil.jobs import Job, Progress
    from napari_zoommil.jobs.detect import Detection
    from napari_zoommil.jobs.finetune_figures import Figure
    from napari_zoommil.jobs.finetuning import FineTuning
    from napari_zoommil.jobs.outcomes import Outcome
    from napari_zoommil.jobs.prediction import Cost

T = TypeVar("T")


@dataclass(frozen=True)
class Told:
    """Output for a finished slide: properties for JSON, a text, its damaged tiles, a warning, and whether the
    model knows what it read."""

    facts: dict[str, Any]
    text: str
    damaged: int = 0
    warning: str = ""
    familiarity: Verdict | None = None


@dataclass
class Printer:
    """Prints the result of each slide when it is done, or all results as one JSON document at the end.

    Attributes
    ----------
    as_json : bool
    many : bool
        Whether there are several slides; the document is then a list.
    """

    as_json: bool
    many: bool
    code: int = 0
    facts: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, path: Path, told: Told) -> None:
        self.facts.append(told.facts)
        if not self.as_json:
            print(told.text)
            if told.familiarity is not None:
                print(f"  {told.familiarity.sentence}")
        elif told.familiarity is not None and told.familiarity.is_unlike:
            print(f"warning: {path.name}: {told.familiarity.sentence}", file=sys.stderr)
        if told.warning:
            print(f"warning: {path.name}: {told.warning}", file=sys.stderr)
        if told.damaged:
            print(f"warning: {path.name}: {damage_note(told.damaged)}", file=sys.stderr)

    def failed(self, error: Exception) -> None:
        self.code = 1
        print(f"error: {sentence(error)}", file=sys.stderr)

    def end(self) -> int:
        """The exit code: 1 if any slide failed."""
        if self.as_json:
            print_json(self.facts, self.many)
        return self.code


def sentence(error: Exception) -> str:
    """An error as one line, with its type if it is not a ZoomMILError."""
    if isinstance(error, ZoomMILError):
        return str(error)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; close other programs, or take a smaller batch or file"
    return f"{type(error).__name__}: {first_line(error)}{_place(error)}"


def _place(error: Exception) -> str:
    """Where in this package an error arose that nobody expected, for who reports it."""
    if isinstance(error, RuntimeError):  # PyTorch's, which say what is wrong
        return ""
    package = Path(__file__).parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    found = [one for one in frames if Path(one.filename).is_relative_to(package)]
    return f" ({Path(found[-1].filename).name}, line {found[-1].lineno}; please report it)" if found else ""


def slide_paths(slides: list[Path]) -> list[Path]:
    """Slides named on the command line, with tables and folders of images replaced by what they hold."""
    return [found for path in slides for found in _named_by(path)]


def _named_by(path: Path) -> list[Path]:
    if has_ending(path, TABLES):
        return slides_of_table(path)
    is_folder = path.is_dir() and not slide_format(path)
    return (pictures_in(path) if is_folder else []) or [path]


def describe(slide: Slide) -> dict[str, Any]:
    """Properties of a slide; label and macro images are listed, but never shown."""
    return {
        "slide": slide.name,
        "vendor": slide.vendor,
        "height": slide.shape[0],
        "width": slide.shape[1],
        "mpp": list(slide.mpp) if slide.mpp else None,
        "mpp_set": str(slide.mpp_set) if slide.mpp_set else None,
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
    """:func:`describe` as text."""
    mpp = found["mpp"]
    stated = found["mpp_set"] or (mpp_text(mpp) if mpp else "")
    scale = f"{stated} ({found['magnification']:.4g}x)" if mpp else "resolution unknown: give --mpp"
    levels = ", ".join(f"{level['downsample'][0]:.4g}" for level in found["levels"])
    profile = "; with a colour profile (--icc applies it)" if found["icc"] else ""
    return (
        f"{found['slide']}\n  {found['width']:,} × {found['height']:,} px, {scale}, {found['vendor']}\n"
        f"  downsamples {levels}; associated images: {', '.join(found['associated']) or 'none'}{profile}"
    )


def print_json(results: list[Any], many: bool = False) -> None:
    """One document: a list for several slides, else the result itself."""
    if results or many:
        document = finite(results if many else results[0])
        print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def finite(value: Any) -> Any:
    """A document with NaN and infinity replaced by null, because JSON does not support them."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def folder_of(slide: Slide | AbsentSlide, paths: list[Path], out: Path) -> Path:
    """The folder for the results of a slide; of several slides each has its own, also for equal names."""
    if len(paths) == 1:
        return out
    stems = [stem_of(path) for path in paths]
    unique = stems.count(slide.stem) == 1
    return out / (slide.stem if unique else f"{slide.stem}-{slide.fingerprint[:8]}")


def file_of(slide: Slide, paths: list[Path], out: Path) -> Path:
    """The file for the cells of a slide: the named file or, for several slides, a file in a folder."""
    return out if len(paths) == 1 else out / f"{folder_of(slide, paths, out).name}.geojson"


def describe_cost(cost: Cost) -> str:
    """Patches and seconds of a prediction as text."""
    return f"{cost.counted}, {cost.seconds:.1f} s"


def describe_cells(found: Detection) -> str:
    """Number of cells per class as text."""
    densities = found.per_mm2()
    counts = ", ".join(
        f"{count:,} {name}" + (f" ({density:,.0f}/mm²)" if (density := densities[name]) is not None else "")
        for name, count in found.counts().items()
    )
    return f"{found.slide}: {counts}; /mm² of {found.extent}"


def describe_training(found: FineTuning) -> str:
    """Data and metrics of a fine-tuning as text."""
    from napari_zoommil.jobs.finetune_figures import figures, verdict

    points = ", ".join(f"{count} {name}" for name, count in found.points.items() if count)
    cells = found.kind == "cells"
    seen = f"{found.windows} windows" if cells else f"{found.patches:,} patches"
    before = " is trained already" if found.trained_before else ""
    time = "" if before else f", {found.seconds:.0f} s"
    lines = [f"{found.model}{before}: {points} in {seen}{time}"]
    if found.off_slide:
        lines.append(f"  {found.off_slide:,} points are outside the slide and were left out")
    lines += [f"  {_figure(one)}" for one in figures(found.metrics)]
    if cells and found.held_out:
        lines.append(f"  measured on {found.held_out} held-out windows")
    return "\n".join([*lines, *(f"  {sentence}" for sentence in [verdict(found.metrics)] if sentence)])


def _figure(one: Figure) -> str:
    from napari_zoommil.jobs.finetune_figures import figure_text

    before = "–" if one.before is None else figure_text(one.name, one.before)
    rests = (
        "" if one.low is None else f" (of {one.cells} cells; 95 % interval {one.low:.2f} to {one.high:.2f})"
    )
    return f"{one.title} {before} → {figure_text(one.name, one.after)}{rests}"


def figure(value: float) -> str:
    """A number to three figures, without an exponent if it is large: ``0.0714``, ``7,417``."""
    return f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{value:.3g}"


def drive(
    job: Job[T],
    title: str,
    quiet: bool = False,
    on_outcome: Callable[[Outcome[Any]], str] | None = None,
    lines: Callable[[Any], Iterable[str]] | None = None,
) -> T:
    """Run a job and return its result, with a progress bar on standard error.

    Parameters
    ----------
    job : generator
    title : str
        Text before the bar.
    quiet : bool
        Show no bar.
    on_outcome : callable, optional
        Prints the outcome of one of many slides, and returns the next title.
    lines : callable, optional
        What to print above the bar for a ``partial`` of the job's progress.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from napari_zoommil.jobs import run
    from napari_zoommil.jobs.outcomes import Outcome
    from napari_zoommil.jobs.progress import duration

    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True, quiet=quiet)
    with Bar(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("", title=title, total=None)

        def show(progress: Progress) -> None:
            left = progress.seconds_left
            note = progress.note if left is None else f"{progress.note}, about {duration(left)} left"
            bar.update(task, completed=progress.done, total=progress.total, description=note)
            for line in lines(progress.partial) if lines is not None else ():
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            if on_outcome is not None and isinstance(progress.partial, Outcome):
                bar.stop()  # else it overwrites the printed text
                bar.update(task, title=on_outcome(progress.partial))
                bar.start()

        return run(job, show)
