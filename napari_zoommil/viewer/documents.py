"""The annotation documents of the slides in a viewer: files and layers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any
from weakref import ref

import napari
from psygnal import Signal

from napari_zoommil.annotations import (
    CLASS_CYCLE,
    Autosave,
    CellClass,
    Changed,
    Conflict,
    Stranger,
    current_path,
)
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.slides import Slide
from napari_zoommil.viewer import settings
from napari_zoommil.viewer.compat import canvas_widget
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.layers.annotations import AnnotationLayers
from napari_zoommil.viewer.layers.points import FIRST_CLASS
from napari_zoommil.viewer.notifications import show_warning
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.stranger_question import Choice, StrangerQuestion
from napari_zoommil.viewer.worker import JobRunner, sentence_of

LARGE_BYTES = 1 << 20
"""Least size of a file that is read on a thread: about 5,000 points."""


def open_document(slide: Slide, annotator: str) -> Autosave:
    """The annotations of a slide; if there are none, a document with one class and without a file.

    Raises
    ------
    AnnotationError
        If the file exists and cannot be read.
    """
    return Autosave.of(slide, annotator, (CellClass(FIRST_CLASS, CLASS_CYCLE[0]),))


class Documents:
    """Opens the document of each slide, shows it in layers, and reports problems with its file.

    Opening a slide writes nothing: without annotations there are no layers and no file before the first edit,
    except that annotating a slide creates its layers.

    Parameters
    ----------
    viewer : napari.Viewer
    changed : callable
        Called with the slide and the change of its document after each edit, and after reading it.

    Attributes
    ----------
    annotator : str
        Name stored with each new point.
    problems : dict of OpenSlide to str
        Errors of the last reading or saving.
    """

    said = Signal(object, str)
    """(OpenSlide, str) a message about its file."""

    def __init__(self, viewer: napari.Viewer, changed: Callable[[OpenSlide, Changed], Any]) -> None:
        self._viewer, self._changed = ref(viewer), changed
        self.annotator = settings.annotator()
        self._reading: dict[OpenSlide, JobRunner] = {}
        self._heard: dict[OpenSlide, Follower] = {}
        self._asked: dict[OpenSlide, StrangerQuestion] = {}
        self.problems: dict[OpenSlide, str] = {}

    def open(self, entry: OpenSlide) -> None:
        """Read the annotations of a slide, if not done yet; large files are read on a thread."""
        viewer = self._viewer()
        if entry.document is not None or entry in self._reading or viewer is None:
            return
        slide, name = entry.slide, self.annotator
        try:
            path = current_path(slide)
            if not path.exists() or path.stat().st_size < LARGE_BYTES:
                return self._opened(entry, open_document(slide, name))
        except (ZoomMILError, OSError) as error:
            return self._complain(entry, sentence_of(error))

        def read() -> Generator[Autosave, None, None]:
            yield open_document(slide, name)

        runner = JobRunner(
            viewer,
            lambda saved: self._opened(entry, saved),
            lambda _: None,
            lambda failure: self._read(entry, failure),
            quiet=True,
        )
        self._reading[entry] = runner
        runner.start(read)

    def _read(self, entry: OpenSlide, failure: str | None) -> None:
        self._reading.pop(entry, None)
        if failure is not None:
            self._complain(entry, failure)

    def _opened(self, entry: OpenSlide, saved: Autosave) -> None:
        entry.document = saved
        self.problems.pop(entry, None)
        heard = self._heard[entry] = Follower()
        heard.follow(saved.points.changed, lambda changed: self._edited(entry, changed))
        heard.follow(saved.failed, lambda error: self._complain(entry, f"Not saved: {error}"))
        heard.follow(saved.merged, lambda conflicts: self._merged(entry, conflicts))
        if len(saved.points) or saved.points.regions:
            self.show(entry)
        self._changed(entry, Changed(classes=True, regions=True))

    def _edited(self, entry: OpenSlide, changed: Changed) -> None:
        self.show(entry)
        if entry.document is not None and entry.document.problem is None:
            self.problems.pop(entry, None)
        self._changed(entry, changed)

    def _complain(self, entry: OpenSlide, text: str) -> None:
        if self.problems.get(entry) != text:  # report it once and not after every edit
            show_warning(text)
        self.problems[entry] = text
        self.said.emit(entry, text)

    def _merged(self, entry: OpenSlide, conflicts: tuple[Conflict, ...]) -> None:
        notes = dict.fromkeys(one.note for one in conflicts)
        strangers = [one for one in conflicts if isinstance(one, Stranger)]
        text = "\n".join(notes if strangers else ["Merged with what somebody else wrote.", *notes])
        self.said.emit(entry, text)
        if strangers and self._ask(entry, strangers[-1]):
            return
        if conflicts:
            show_warning(text)

    def _ask(self, entry: OpenSlide, stranger: Stranger) -> bool:
        """Ask what is to become of both documents; returns whether there is a window to ask in."""
        viewer = self._viewer()
        canvas = None if viewer is None else canvas_widget(viewer)
        if canvas is None or entry.document is None:
            return False
        self._stop_asking(entry)
        saved = entry.document
        asked = StrangerQuestion(canvas.window() or canvas, saved.path.name, saved.points, stranger)
        asked.decided.connect(lambda choice: self._settle(entry, stranger, choice))
        self._asked[entry] = asked
        asked.show()
        return True

    def _settle(self, entry: OpenSlide, stranger: Stranger, choice: Choice) -> None:
        self._asked.pop(entry, None)
        if entry.document is None or choice == "mine":
            return
        try:
            if choice == "both":
                entry.document.take_in(stranger)
                text = f"Theirs was added to yours, and is in {stranger.path.name}; Undo takes it out again"
            else:
                kept = entry.document.take(stranger)
                text = f"These are theirs; yours is in {kept.name}, and Undo brings it back"
        except ZoomMILError as error:
            return self._complain(entry, str(error))
        self.said.emit(entry, text)

    def _stop_asking(self, entry: OpenSlide) -> None:
        if (asked := self._asked.pop(entry, None)) is not None:
            with suppress(RuntimeError):  # it went with its window
                asked.decided.disconnect()
                asked.close()

    def show(self, entry: OpenSlide) -> None:
        """Add the layers of a slide's points and regions, if they do not exist."""
        viewer = self._viewer()
        if entry.annotations is None and entry.document is not None and viewer is not None:
            entry.annotations = AnnotationLayers(viewer, entry.slide, entry.document.points)

    def mend(self, entry: OpenSlide) -> bool:
        """Recreate layers that were removed or have another pixel size; returns whether there were any."""
        if entry.annotations is None or entry.annotations.in_place:
            return False
        entry.annotations.renew()
        return True

    def rest(self, entry: OpenSlide) -> None:
        """End annotating a slide: remove its empty layers."""
        if entry.annotations is None or entry.document is None:
            return
        entry.annotations.rest()
        if not len(entry.document.points) and not entry.document.points.regions:
            entry.annotations.close()
            entry.annotations = None

    def refresh(self, entry: OpenSlide) -> None:
        """Merge the changes that others made to the file."""
        if entry.document is not None:
            try:
                entry.document.refresh()
            except ZoomMILError as error:
                self._complain(entry, str(error))

    def sign(self, name: str) -> None:
        """Set the annotator for new points, and store the name in the settings."""
        self.annotator = name
        if name != settings.annotator():
            settings.set_annotator(name)
        for entry in self._heard:
            if entry.document is not None:
                entry.document.points.annotator = name

    def close(self, entry: OpenSlide) -> None:
        """Close the document of a removed slide; its file stays."""
        if (reading := self._reading.pop(entry, None)) is not None:
            reading.abandon()
        self._stop_asking(entry)
        if (heard := self._heard.pop(entry, None)) is not None:
            heard.stop()
        if entry.annotations is not None:
            entry.annotations.close()
            entry.annotations = None
        if entry.document is not None:
            entry.document.close()
            entry.document = None
        self.problems.pop(entry, None)
