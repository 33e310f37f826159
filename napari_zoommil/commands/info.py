"""``info``: properties of slides. Not a job, so that it starts fast."""

from __future__ import annotations

from napari_zoommil.commands.options import Json, Mpp, Slides
from napari_zoommil.commands.report import Printer, Told, describe, describe_text, slide_paths
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide


def info(slides: Slides, /, *, mpp: Mpp = None, json: Json = False) -> int:
    """Print the properties of each slide."""
    paths = slide_paths(slides)
    printer = Printer(json, len(paths) > 1)
    for path in paths:
        try:
            with Slide.open(path, mpp) as slide:
                facts = describe(slide)
        except (ZoomMILError, OSError, RuntimeError) as error:
            printer.failed(error)
        else:
            printer.tell(path, Told(facts, describe_text(facts)))
    return printer.end()
