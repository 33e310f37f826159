"""``predict`` and ``explain``: predictions and explanations of a MIL model as files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_zoommil import jobs
from napari_zoommil.commands.comparing import Comparing
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.options import Json, Out, Slides, with_options
from napari_zoommil.commands.regions import Regions, with_regions
from napari_zoommil.commands.report import Told, describe_cost, folder_of, sentence, slide_paths
from napari_zoommil.files import require_writable
from napari_zoommil.jobs import Job
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.faithfulness import require_patches
from napari_zoommil.jobs.feature_files import at_hand
from napari_zoommil.jobs.outcomes import FAILURES
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import summary, write_curves, write_explanation, write_prediction
from napari_zoommil.maps.curves import Curves
from napari_zoommil.maps.localisation import Denoising
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide

Explained = tuple[Explanation, Curves | None, str]
"""With deletion and insertion curves, or why there are none."""


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
    require_writable(out)
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


Annotations = Annotated[
    Path | None,
    Parameter(
        help=(
            "Regions that the maps are compared with: a file of regions of the slide, or a folder with one "
            "for each slide, named as the slide. A slide whose file has no such region counts as without it."
        )
    ),
]
ClassName = Annotated[str, Parameter(name="--class", help="Class of the regions; all by default.")]
Faithful = Annotated[
    bool,
    Parameter(
        help="Also take patches away in the order of the map, and write deletion and insertion curves.",
        negative=(),
    ),
]

Denoise = Annotated[
    Denoising,
    Parameter(
        name="--denoise",
        help="How maps are made masks for their Jaccard, such as ``--denoise.quantile 0.95``.",
    ),
]


@with_options(jobs.explain, hidden=("slide", "tissue", "regions", "prediction"))
def explain(
    slides: Slides,
    /,
    *,
    out: Out,
    regions: Regions = None,
    annotations: Annotations = None,
    class_name: ClassName = "",
    faithfulness: Faithful = False,
    denoise: Denoise = Denoising(),  # noqa: B008 (frozen)
    json: Json = False,
    **options: Any,
) -> int:
    """Write the maps of an explanation method for each slide."""
    require_writable(out)
    paths = slide_paths(slides)
    options = with_regions(options, regions, paths)
    comparing = Comparing.of(annotations, class_name, slides, paths, denoise, options)
    computing = {name: options[name] for name in fields(jobs.faithfulness) if name in options}
    if faithfulness:
        require_patches(options["focus"])

    def job(path: Path, **given: Any) -> Job[Explained]:
        found = yield from jobs.explain(path, **given)
        try:
            curves = (yield from jobs.faithfulness(path, found, **computing)) if faithfulness else None
        except FAILURES as error:  # the explanation is there, and is written
            return found, None, f"faithfulness was not tested: {sentence(error)}"
        return found, curves, ""

    def write(path: Path, result: Explained) -> Told:
        found, curves, untested = result
        with shown_slide(path, found.prediction, options) as slide:
            folder = folder_of(slide, paths, out)
            written = write_explanation(slide, found, folder)
            told = comparing.compare(path, slide, found, folder)
        if curves is not None:
            written += write_curves(curves, found, folder)
        facts = {
            "slide": path.name,
            "method": found.method,
            "target": found.target,
            "says": found.says,
            "familiarity": found.prediction.familiarity.facts,
            **({"agreement": told.facts} if told else {}),
            **({"faithfulness": curves.facts} if curves else {}),
            **({"warning": untested} if untested else {}),
            "files": [file.name for file in written],
        }
        lines = [f"{path.name}: {found.method} {found.target or ''} → {folder}", found.says]
        lines += [told.sentence] if told else []
        lines += [f"{curves.verdict} ({curves.in_short})"] if curves else []
        of = found.prediction
        warning = "; ".join(filter(None, (of.cost.unkept, untested)))
        return Told(facts, "\n  ".join(lines), of.damaged, warning, of.familiarity)

    code = each_slide(partial(job, **options), paths, write, json)
    comparing.end(out, json)
    return code
