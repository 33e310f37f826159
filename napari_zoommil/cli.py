"""``napari-zoommil``: the jobs as commands.

Parameters, defaults, ranges and help are those of the job functions; here they only become options.
Every command ends in 0, or in one clear line on standard error and another code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

import napari_zoommil
from napari_zoommil.commands.many import each_slide, ready_for_model, sentence, slide_paths, warn_of_damage
from napari_zoommil.commands.options import job_command
from napari_zoommil.errors import JobError, ZoomMILError
from napari_zoommil.experiments.reproduce import reproduce
from napari_zoommil.jobs import detect, embed, explain, finetune, predict, train
from napari_zoommil.jobs.many_slides import make_ready

app = App(
    name="napari-zoommil",
    help="Whole-slide images, zooming multiple-instance learning, attention overlays.",
    version=napari_zoommil.__version__,
    suppress_keyboard_interrupt=False,
)

Slides = Annotated[list[Path], Parameter(help="Slides, or a CSV with the column slide.")]
Out = Annotated[Path, Parameter(help="Folder to write; one inside it per slide where there are several.")]
Cells = Annotated[Path, Parameter(help="GeoJSON file to write; a folder where there are several slides.")]
Points = Annotated[Path, Parameter(help="Points, and regions declared complete, as GeoJSON.")]
Regions = Annotated[
    Path | None,
    Parameter(help="GeoJSON with polygons that are searched, holes and all; all tissue by default."),
]
Score = Annotated[
    float | None,
    Parameter(
        help="Score from which a find is written; the model's by default, which a U-Net has no finds below.",
        validator=Number(gte=0, lte=1),
    ),
]
Json = Annotated[bool, Parameter(help="Print one JSON document on standard output.", negative=())]
Mpp = Annotated[
    float | None, Parameter(help="Pixel size of level 0 in µm, where the slide does not state it.")
]

_command = partial(job_command, app)


@app.command
def demo(*, headless: Path | None = None) -> None:
    """Show a sample slide and watch the shipped model zoom.

    Parameters
    ----------
    headless : Path, optional
        Write pictures and a report into this folder instead of opening a window.
    """
    from napari_zoommil.commands.demo import run_demo

    run_demo(headless)


@app.command(name="open")
def open_slide(slide: Path, *, mpp: Mpp = None, icc: bool = False) -> None:
    """Open a slide in the viewer.

    Parameters
    ----------
    slide : Path
        Slide file, DICOM folder or OME-Zarr folder.
    mpp : float, optional
        Pixel size of level 0 in µm, where the slide does not state it.
    icc : bool
        Convert pixels to sRGB by the slide's colour profile, if it has one.
    """
    from napari_zoommil.commands.display import require_display

    napari_zoommil.Slide.open(slide, mpp, icc).close()  # a clear error before a window
    require_display()
    from napari_zoommil.viewer.launch import show_slide

    show_slide(slide, mpp, icc)


@app.command
def info(slides: Slides, /, *, mpp: Mpp = None, json: Json = False) -> int:
    """Tell what a slide is: size, resolution, levels, vendor."""
    from napari_zoommil.commands.report import describe, describe_text

    def one(path: Path) -> dict[str, Any]:
        with napari_zoommil.Slide.open(path, mpp) as slide:
            found = describe(slide)
        if not json:
            print(describe_text(found))
        return found

    paths = slide_paths(slides)
    return each_slide(paths, one, json)


@_command(predict, hidden=("slide", "tissue"))
def _predict(slides: Slides, /, *, out: Out, json: Json = False, **options: Any) -> int:
    """Predict the class of slides and say where the model looked."""
    from napari_zoommil.commands.report import describe_cost, drive, folder_of
    from napari_zoommil.jobs.prediction_files import summary, write_prediction

    paths = slide_paths(slides)

    def one(path: Path) -> dict[str, Any]:
        with napari_zoommil.Slide.open(path, options["mpp"], options["icc"]) as slide:
            result = drive(predict(slide, **options), path.name, quiet=json)
            folder = folder_of(slide, paths, out)
            write_prediction(slide, result, folder)
        if not json:
            shown = ", ".join(
                f"{n} {p:.3f}" for n, p in zip(result.class_names, result.probabilities, strict=True)
            )
            print(f"{path.name}: {shown} ({describe_cost(result.cost)}) → {folder}")
        if result.cost.unkept:
            print(f"warning: {path.name}: {result.cost.unkept}", file=sys.stderr)
        warn_of_damage(path, result.damaged)
        return summary(result)

    return each_slide(paths, one, json, ready_for_model(options))


@_command(explain, hidden=("slide",))
def _explain(slides: Slides, /, *, out: Out, json: Json = False, **options: Any) -> int:
    """Say why a model decided as it did: attention or Grad-CAM per magnification."""
    from napari_zoommil.commands.report import drive, folder_of
    from napari_zoommil.jobs.prediction_files import write_maps

    paths = slide_paths(slides)

    def one(path: Path) -> dict[str, Any]:
        with napari_zoommil.Slide.open(path, options["mpp"], options["icc"]) as slide:
            result = drive(explain(slide, **options), path.name, quiet=json)
            folder = folder_of(slide, paths, out)
            folder.mkdir(parents=True, exist_ok=True)
            written = write_maps(slide, result.maps, folder)
        if not json:
            print(f"{path.name}: {result.method} {result.target or ''} → {folder}")
        warn_of_damage(path, result.prediction.damaged)
        return {
            "slide": path.name,
            "method": result.method,
            "target": result.target,
            "files": [file.name for file in written],
        }

    return each_slide(paths, one, json, ready_for_model(options))


@_command(embed, hidden=("slide",))
def _embed(slides: Slides, /, *, json: Json = False, **options: Any) -> int:
    """Encode all tissue patches of slides into a feature store; a run that was cut off goes on."""
    from napari_zoommil.commands.report import drive

    def one(path: Path) -> dict[str, Any]:
        result = drive(embed(path, **options), path.name, quiet=json)
        if not json:
            print(f"{path.name}: {result.encoded:,} of {result.total:,} patches encoded now → {result.store}")
        warn_of_damage(path, result.damaged)
        return {
            "slide": path.name,
            "store": str(result.store),
            "encoded": result.encoded,
            "total": result.total,
            "damaged_tiles": result.damaged,
        }

    paths = slide_paths(slides)
    names = ("store", "magnifications", "patch_size", "min_tissue", "mpp", "icc")
    return each_slide(paths, one, json, partial(make_ready, **{name: options[name] for name in names}))


@_command(train, hidden=("cohort",))
def _train(cohort: Path, /, *, json: Json = False, **options: Any) -> None:
    """Train a model on a cohort: a CSV with the columns slide, label[, split][, group]."""
    from napari_zoommil.commands.report import drive, print_json

    result = drive(train(cohort, **options), cohort.name, quiet=json)
    found = {"model": str(result.model), "classes": list(result.class_names), "metrics": result.metrics}
    if json:
        print_json([found])
    else:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items())
        print(f"{result.model}: {figures}")


@_command(finetune, hidden=("slide", "annotations"))
def _finetune(slide: Path, /, *, annotations: Points, json: Json = False, **options: Any) -> None:
    """Teach a cell model, or the attention of a MIL model, with a few points on a slide."""
    from napari_zoommil.commands.report import describe_training, drive, print_json

    result = drive(finetune(slide, annotations, **options), slide.name, quiet=json)
    if json:
        print_json([asdict(result) | {"model": str(result.model)}])
    else:
        print(describe_training(result))


@_command(detect, hidden=("slide", "regions", "tissue"))
def _detect(
    slides: Slides,
    /,
    *,
    out: Cells,
    regions: Regions = None,
    threshold: Score = None,
    json: Json = False,
    **options: Any,
) -> int:
    """Find the cells on slides."""
    from napari_zoommil.annotations.regions import read_regions
    from napari_zoommil.cells.export import write_detections
    from napari_zoommil.commands.report import describe_cells, drive, file_of

    paths = slide_paths(slides)
    if regions is not None:
        if len(paths) > 1:
            raise JobError("regions are those of one slide; name one slide, or leave them out")
        options["regions"] = read_regions(regions)

    def one(path: Path) -> dict[str, Any]:
        with napari_zoommil.Slide.open(path, options["mpp"], options["icc"]) as slide:
            result = drive(detect(slide, **options), path.name, quiet=json)
            file = file_of(slide, paths, out)
        if threshold is not None:
            result = replace(result, threshold=threshold)
        counted = result.finds.chosen(result.finds.scores >= result.threshold)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_detections(file, counted, result.classes)
        if not json:
            print(f"{describe_cells(result)} → {file}")
        warn_of_damage(path, result.damaged)
        return {
            "slide": path.name,
            "file": str(file),
            "cells": result.counts(),
            "per_mm2": result.per_mm2(),
            "area_mm2": result.area_mm2,
            "damaged_tiles": result.damaged,
        }

    return each_slide(paths, one, json)


@_command(reproduce, hidden=("experiment",))
def _reproduce(experiment: str, /, *, json: Json = False, **options: Any) -> None:
    """Run an experiment of the papers, such as sparse-labels; a run that was cut off goes on."""
    from napari_zoommil.commands.report import drive, print_json

    result = drive(reproduce(experiment, **options), experiment, quiet=json)
    if json:
        print_json([result.results])
    else:
        print("\n".join(map(str, result.files)))


@app.command
def doctor(*, json: Json = False) -> int:
    """Check the installation: versions, device, display, shipped weights."""
    from napari_zoommil.commands.doctor import examine
    from napari_zoommil.commands.report import print_json

    findings = examine()
    if json:
        print_json([{f.name: {"ok": f.ok, "value": f.value} for f in findings}])
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<14} {finding.value}")
    return int(not all(finding.ok for finding in findings))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``napari-zoommil`` command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows pipe may not know × and µ
            stream.reconfigure(errors="replace")
    try:
        code = app(arguments, exit_on_error=True, result_action="return_value")
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        code = 130
    except (ZoomMILError, OSError, RuntimeError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        code = 1
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
