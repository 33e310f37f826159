"""Predictions of earlier sessions, read when a slide is opened or gets another pixel size."""

from __future__ import annotations

from collections.abc import Callable, Generator
from weakref import ref

import napari

from napari_zoommil.jobs import prediction_store
from napari_zoommil.jobs.prediction_store import KeptPrediction
from napari_zoommil.viewer.open_slide import PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.reading import Reading
from napari_zoommil.viewer.worker import JobRunner


class Restoring:
    """Reads the stored predictions of slides on threads.

    Parameters
    ----------
    viewer : napari.Viewer
    found : callable
        Called with the slide, when predictions were added to its results.
    """

    def __init__(self, viewer: napari.Viewer, found: Callable[[OpenSlide, ResultKey], None]) -> None:
        self._viewer, self._found = ref(viewer), found
        self._reading: dict[OpenSlide, JobRunner] = {}

    def start(self, entry: OpenSlide) -> None:
        """Add the stored predictions of a slide to its results, those made in the meantime stay shown."""
        viewer, slide = self._viewer(), entry.slide
        read_as = slide.mpp, slide.colour_managed
        self.stop(entry)
        if viewer is None or not prediction_store.folder().is_dir():
            return

        def read() -> Generator[KeptPrediction, None, None]:
            yield from prediction_store.kept(slide.fingerprint, *read_as)

        runner = JobRunner(
            viewer, lambda one: self._add(entry, one), _nothing, lambda _: self._ended(entry), quiet=True
        )
        self._reading[entry] = runner
        runner.start(read, of=entry)

    def _add(self, entry: OpenSlide, one: KeptPrediction) -> None:
        key = ResultKey(PREDICTION, one.prediction.model, made=one.made, where=one.where)
        if key not in entry.results:
            entry.results[key] = one.prediction
            if one.read_as is not None:
                entry.readings[one.prediction] = Reading.restored(one.read_as)
            self._found(entry, key)

    def _ended(self, entry: OpenSlide) -> None:
        self._reading.pop(entry, None)

    def stop(self, entry: OpenSlide) -> None:
        """The slide was removed, or is being read again."""
        if (reading := self._reading.pop(entry, None)) is not None:
            reading.abandon()


def _nothing(_: object) -> None:
    pass
