"""``embed`` and ``train``: features of many slides, and training on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_zoommil import jobs
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.options import Json, Slides, with_options
from napari_zoommil.commands.regions import Regions, with_regions
from napari_zoommil.commands.report import Told, drive, print_json, slide_paths
from napari_zoommil.jobs.embed import Embedding
from napari_zoommil.jobs.train_choices import Choices
from napari_zoommil.jobs.train_reasons import is_default
from napari_zoommil.training.run import PLAN

Cohort = Annotated[
    Path,
    Parameter(
        help="CSV with the columns slide and label, and optionally split, fold and group; or a folder with a "
        "folder of images for each class."
    ),
]

Start = Annotated[
    str | None,
    Parameter(
        name="--from",
        help="Start from the weights of a model (shipped, folder or hub name): its architecture, options, "
        "encoder, patch size and magnifications; a new head where the classes differ by name.",
    ),
]

Shard = Annotated[
    str | None,
    Parameter(
        help="i/n: only the i-th of n fixed shares of the slides, from 1; for a batch queue's job "
        "array, which all name the same slides and store."
    ),
]

Cluster = Annotated[
    str | None,
    Parameter(
        help="Spread the slides over the workers of a dask.distributed cluster: the address of its "
        "scheduler, such as tcp://host:8786, or its scheduler file (.json). Slides and store must be on a "
        "file system that all share."
    ),
]


@with_options(jobs.embed, hidden=("slide", "regions"))
def embed(
    slides: Slides,
    /,
    *,
    regions: Regions = None,
    shard: Shard = None,
    cluster: Cluster = None,
    json: Json = False,
    **options: Any,
) -> int:
    """Fill the feature store of each slide."""

    def told(path: Path, result: Embedding) -> Told:
        facts = {
            "slide": path.name,
            "store": str(result.store),
            "encoded": result.encoded,
            "total": result.total,
            "damaged_tiles": result.damaged,
        }
        counted = f"{result.encoded:,} of {result.total:,} patches encoded now"
        return Told(facts, f"{path.name}: {counted} → {result.store}", result.damaged)

    paths = slide_paths(slides)
    job = partial(jobs.embed, **with_regions(options, regions, paths))
    return each_slide(job, paths, told, json, shard=shard, cluster=cluster)


@with_options(jobs.train, hidden=("cohort", "num_nodes", "start"))
def train(cohort: Cohort, /, *, start: Start = None, json: Json = False, **options: Any) -> None:
    """Write a trained model."""
    told: list[Choices] = []

    def lines(partial: Any) -> list[str]:
        """The plan, once, without what is no more than a default."""
        if told or not isinstance(partial, tuple):
            return []
        told.append(partial)
        return [one.line for one in partial if not is_default(one)]

    job = jobs.train(cohort, **options | {"start": start})
    result = drive(job, cohort.name, quiet=json, lines=lines)
    found = {
        "model": str(result.model),
        "classes": list(result.class_names),
        "metrics": result.metrics,
        "trained_before": result.trained_before,
        "plan": {one.name: {"value": one.value, "reason": one.reason} for one in result.plan},
    }
    if json:
        print_json([found])
    elif options["only_plan"]:
        plan = result.model / PLAN
        print(f"{plan}: change what you like, then train with --plan {plan}")
    else:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items())
        before = " is trained already" if result.trained_before else ""
        print(f"{result.model}{before}: {figures}")
