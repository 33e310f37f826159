"""``export-features``: stored features of many slides as files that other tools read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from napari_zoommil import jobs
from napari_zoommil.commands.many import each_slide
from napari_zoommil.commands.options import Json, Slides, with_options
from napari_zoommil.commands.regions import Regions, with_regions
from napari_zoommil.commands.report import Told, slide_paths
from napari_zoommil.jobs.export_features import Export


@with_options(jobs.export_features, hidden=("slide", "regions"))
def export_features(slides: Slides, /, *, regions: Regions = None, json: Json = False, **options: Any) -> int:
    """Write the files of each slide."""

    def told(path: Path, result: Export) -> Told:
        facts = {
            "slide": path.name,
            "patches": result.patches,
            "features": [str(file) for file in result.features],
            "coordinates": [str(file) for file in result.coordinates],
        }
        files = ", ".join(str(file) for file in result.features)
        return Told(facts, f"{path.name}: {result.patches:,} patches → {files}")

    paths = slide_paths(slides)
    job = partial(jobs.export_features, **with_regions(options, regions, paths))
    return each_slide(job, paths, told, json)
