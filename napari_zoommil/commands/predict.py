"""``predict`` and ``explain``: predictions and explanations of a MIL model as files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from napari_zoommil import jobs
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.options import Json, Out, Slides, with_options
from napari_zoommil.commands.regions import Regions, with_regions
from napari_zoommil.commands.report import Told, describe_cost, folder_of, slide_paths
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.feature_files import at_hand
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import summary, write_explanation, write_prediction
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide


def shown_slide(
    path: Path, result: Prediction, options: Mapping[str, Any]
) -> AbstractContextManager[Slide | AbsentSlide]:
    """The slide that a prediction is shown on, or what is known of it if it is not at hand."""
    if at_hand(path):
        return Slide.open(path, options["mpp"], options["icc"])
    mpp = result.maps[0].mpp if result.maps else None
    return nullcontext(AbsentSlide(path, result.grid.shape, mpp, result.fingerprint))


@with_options(jobs.predict, hidden=("slide", "tissue", "regions"))
def predict(
    slides: Slides, /, *, out: Out, regions: Regions = None, json: Json = False, **options: Any
) -> int:
    """Write a prediction for each slide."""
    paths = slide_paths(slides)
    options = with_regions(options, regions, paths)

    def write(path: Path, result: Prediction) -> Told:
        with shown_slide(path, result, options) as slide:
            folder = folder_of(slide, paths, out)
            write_prediction(slide, result, folder)
        shown = result.task.sentence(result.values)
        mm2 = result.regions_mm2
        inside = "" if mm2 is None else f" inside regions of {mm2:.3g} mm²"
        text = f"{path.name}: {shown}{inside} ({describe_cost(result.cost)}) → {folder}"
        return Told(summary(result), text, result.damaged, result.cost.unkept, result.familiarity)

    return each_slide(partial(jobs.predict, **options), paths, write, json)


@with_options(jobs.explain, hidden=("slide", "tissue", "regions", "prediction"))
def explain(
    slides: Slides, /, *, out: Out, regions: Regions = None, json: Json = False, **options: Any
) -> int:
    """Write the maps of an explanation method for each slide."""
    paths = slide_paths(slides)
    options = with_regions(options, regions, paths)

    def write(path: Path, result: Explanation) -> Told:
        with shown_slide(path, result.prediction, options) as slide:
            folder = folder_of(slide, paths, out)
            written = write_explanation(slide, result, folder)
        facts = {
            "slide": path.name,
            "method": result.method,
            "target": result.target,
            "says": result.says,
            "familiarity": result.prediction.familiarity.facts,
            "files": [file.name for file in written],
        }
        text = f"{path.name}: {result.method} {result.target or ''} → {folder}\n  {result.says}"
        of = result.prediction
        return Told(facts, text, of.damaged, of.cost.unkept, of.familiarity)

    return each_slide(partial(jobs.explain, **options), paths, write, json)
