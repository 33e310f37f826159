"""Import of annotations from another file: large ones are read on a thread, and what came in is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import shapely

from napari_zoommil.annotations import Points
from napari_zoommil.annotations.feature import Feature, Kind
from napari_zoommil.annotations.reading import content_steps
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.documents import LARGE_BYTES
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import several
from napari_zoommil.viewer.worker import JobRunner


def read_job(path: Path, origin: Pair) -> Job[Points]:
    """The annotations in a file, step by step."""
    steps, points = content_steps(path, origin), Points()
    yield Progress(0, 1, f"reading {path.name}")
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            points.adopt(end.value)
            return points
        yield Progress(done, total, f"reading {path.name}: {done:,} of {total:,} objects")


class Importer:
    """Reads one file at a time.

    Parameters
    ----------
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    read : callable
        Called with the slide, the file, and the annotations in it.
    told : callable
        Called with what there is to say meanwhile, and with the error.
    """

    def __init__(
        self,
        runner: Callable[..., JobRunner],
        read: Callable[[OpenSlide, Path, Points], None],
        told: Callable[[str], None],
    ) -> None:
        self._read, self._told, self._path = read, told, Path()
        self._runner: JobRunner = runner(
            lambda progress: told(progress.note),
            self._has_read,
            lambda failure: told(failure) if failure else None,
        )

    def _has_read(self, points: Points) -> None:
        self._read(self._runner.of, self._path, points)

    def start(self, entry: OpenSlide, path: Path) -> None:
        """Read a file; a small one at once, as long as no large one is being read."""
        if self._runner.running:
            return self._told(f"{self._path.name} is being read; wait until it is there")
        try:
            large = path.stat().st_size >= LARGE_BYTES
            if not large:
                return self._read(entry, path, Points.read(path, origin=entry.slide.origin))
        except (ZoomMILError, OSError) as error:
            return self._told(str(error))
        self._path = path
        self._runner.start(
            lambda: read_job(path, entry.slide.origin), f"ZoomMIL is reading {path.name}", entry
        )


def what_came(new: Sequence[Feature], slide: Slide, name: str) -> str:
    """``3 regions of 2 classes, 0 points of a.xml added``, and what is unusual about them."""
    regions = [one for one in new if one.kind is Kind.REGION]
    points = sum(len(one.marks) for one in new)
    faults = sum(bool(one.fault) for one in new)
    others = sum(one.kind is Kind.OTHER for one in new) - faults
    classes = {one.class_name for one in regions if one.class_name}
    told = several(len(regions), "region") + (f" of {several(len(classes), 'class')}" if classes else "")
    told = f"{told}, {several(points, 'point')} of {name} added"
    whole = shapely.box(0, 0, *slide.shape)
    off = sum(not shapely.intersects(one.polygons, whole).any() for one in regions)
    if off:
        told += f"; {off:,} of the regions lie off this slide: were they drawn on another one?"
    if faults:
        told += f"; {several(faults, 'outline')} cannot be read and only kept in the file"
    if others:
        told += f"; {several(others, 'other object')}, such as lines, are kept in the file and not shown"
    return told
