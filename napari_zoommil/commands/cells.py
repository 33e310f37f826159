"""``detect`` and ``finetune``: cells on slides, and fine-tuning with points."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from napari_zoommil import jobs
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.options import Json, Slides, with_options
from napari_zoommil.commands.regions import Regions, with_regions
from napari_zoommil.commands.report import (
    Told,
    describe_cells,
    describe_training,
    drive,
    file_of,
    print_json,
    slide_paths,
)
from napari_zoommil.jobs import Job
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.slides import Slide

TheSlide = Annotated[Path, Parameter(help="The slide of the points.")]
Cells = Annotated[
    Path,
    Parameter(
        help="GeoJSON file to write, beside it .csv (cells) and .counts.csv (counts, densities); "
        "a folder for several slides."
    ),
]
Points = Annotated[Path, Parameter(help="Points and complete regions as GeoJSON.")]
Replace = Annotated[
    bool,
    Parameter(
        help="Replace tables beside the GeoJSON file that were not written with it; without it, they are "
        "refused.",
        negative=(),
    ),
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
    overwrite: Replace = False,
    json: Json = False,
    **options: Any,
) -> int:
    """Write the cells of each slide."""
    from napari_zoommil.jobs.detection_files import require_possible, write_detection

    paths = slide_paths(slides)
    options = with_regions(options, regions, paths)

    def file_for(path: Path) -> Path:
        with Slide.open(path, options["mpp"], options["icc"]) as slide:
            return file_of(slide, paths, out)

    def detected(path: Path) -> Job[Detection]:
        require_possible(file_for(path), overwrite)  # before hours of work
        return (yield from jobs.detect(path, **options))

    def write(path: Path, result: Detection) -> Told:
        if threshold is not None:
            result = replace(result, threshold=threshold)
        files = write_detection(file_for(path), result, overwrite=overwrite)
        facts = {
            "slide": path.name,
            "file": str(files.geojson),
            "tables": [str(files.cells), str(files.counts)],
            "cells": result.counts(),
            "per_mm2": result.per_mm2(),
            "per_mm2_of": result.area_kind,
            "area_mm2": result.area_mm2,
            "tissue_mm2": result.tissue_mm2,
            "familiarity": result.familiarity.facts,
            "damaged_tiles": result.damaged,
            "note": result.note,
        }
        text = f"{describe_cells(result)} → {files.geojson}, .csv, .counts.csv"
        return Told(facts, text, result.damaged, result.note, familiarity=result.familiarity)

    return each_slide(detected, paths, write, json)
