"""``--regions FILE[:CLASS]``: regions of a file as the areas that a command reads."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from napari_zoommil.errors import JobError, ZoomMILError
from napari_zoommil.geometry import Pair

if TYPE_CHECKING:
    import shapely

Regions = Annotated[
    str | None,
    Parameter(
        help=(
            "FILE or FILE:CLASS, GeoJSON or XML of ASAP or ImageScope. Only what is inside its regions, or "
            "those of the class, counts, and holes are outside: of patches those with tissue inside, of "
            "cells those with their centre inside. All tissue by default."
        )
    ),
]


def with_regions(options: dict[str, Any], regions: str | None, paths: list[Path]) -> dict[str, Any]:
    """The options of a job with the regions that were named, if any.

    Raises
    ------
    JobError
        If there are several slides: regions are places on one.
    AnnotationError, FileError
        If the file cannot be read, or has no such regions.
    """
    if regions is None:
        return options
    if len(paths) > 1:
        raise JobError("regions can be given for one slide only; name one slide, or give no regions")
    return {**options, "regions": read_named(regions, _origin(paths[0]))}


def _origin(path: Path) -> Pair | None:
    """Where QuPath counts from on a slide; None where it is not at hand, which the job says if it matters."""
    from napari_zoommil.slides import Slide

    with suppress(ZoomMILError), Slide.open(path) as slide:
        return slide.origin
    return None


def read_named(text: str, origin: Pair | None) -> tuple[shapely.Polygon, ...]:
    """The regions of ``FILE`` or ``FILE:CLASS``; names of files and of classes may have colons too."""
    from napari_zoommil.annotations.regions import read_regions

    return read_regions(*split_name(text), origin=origin)


def split_name(text: str) -> tuple[Path, str]:
    """File and class: the longest beginning that is a file; without one, all is taken for the file."""
    ends = [len(text), *(at for at in range(len(text) - 1, 0, -1) if text[at] == ":")]
    for end in ends:
        if Path(text[:end]).is_file():
            return Path(text[:end]), text[end + 1 :]
    return Path(text), ""
