"""``detect`` and ``finetune``: cells on slides, and fine-tuning with points."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from napari_zoommil import jobs
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.options import Json, Slides, with_options
from napari_zoommil.commands.report import (
    Told,
    describe_cells,
    describe_training,
    drive,
    file_of,
    print_json,
    slide_paths,
)
from napari_zoommil.errors import JobError
from napari_zoommil.files import make_folder
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides import Slide

TheSlide = Annotated[Path, Parameter(help="The slide of the points.")]
Cells = Annotated[Path, Parameter(help="GeoJSON file to write; a folder for several slides.")]
Points = Annotated[Path, Parameter(help="Points and complete regions as GeoJSON.")]
Regions = Annotated[
    Path | None,
    Parameter(help="GeoJSON with polygons to search, which may have holes; all tissue by default."),
]
Score = Annotated[
    float | None,
    Parameter(
        help="Least score of the cells to write; the model's threshold by default.",
        validator=Number(gte=0, lte=1),
    ),
]


@with_options(jobs.finetune, hidden=("slide", "annotations"))
def finetune(slide: TheSlide, /, *, annotations: Points, json: Json = False, **options: Any) -> None:
    """Write a fine-tuned model."""
    result = drive(jobs.finetune(slide, annotations, **options), slide.name, quiet=json)
    if json:
        print_json([asdict(result) | {"model": str(result.model)}])
    else:
        print(describe_training(result))


@with_options(jobs.detect, hidden=("slide", "regions", "tissue"))
def detect(
    slides: Slides,
    /,
    *,
    out: Cells,
    regions: Regions = None,
    threshold: Score = None,
    json: Json = False,
    **options: Any,
) -> int:
    """Write the cells of each slide."""
    from napari_zoommil.annotations.regions import read_regions
    from napari_zoommil.cells.export import write_detections

    paths = slide_paths(slides)
    if regions is not None:
        if len(paths) > 1:
            raise JobError("regions can be given for one slide only; name one slide, or give no regions")
        options["regions"] = read_regions(regions)

    def write(path: Path, result: Detection) -> Told:
        if threshold is not None:
            result = replace(result, threshold=threshold)
        counted = result.finds.chosen(result.finds.scores >= result.threshold)
        with Slide.open(path, options["mpp"], options["icc"]) as slide:
            file = file_of(slide, paths, out)
        make_folder(file.parent)
        write_detections(file, counted, result.classes)
        facts = {
            "slide": path.name,
            "file": str(file),
            "cells": result.counts(),
            "per_mm2": result.per_mm2(),
            "area_mm2": result.area_mm2,
            "damaged_tiles": result.damaged,
            "note": result.note,
        }
        return Told(facts, f"{describe_cells(result)} → {file}", result.damaged, result.note)

    return each_slide(partial(jobs.detect, **options), paths, write, json)
