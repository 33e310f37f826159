"""Annotations that are on disk at every moment, and that several readers may share.

Each edit writes the whole file anew, so that the file alone tells everything and any program can open it
at any time. Text is made once and kept, so that an edit costs the writing and not the formatting. A file
that another program has changed is merged, not overwritten.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_data_path
from psygnal import Signal

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.annotations.geojson import Blocks, Content, Envelope, dumps, loads
from napari_zoommil.annotations.merge import Conflict, merge, same_content
from napari_zoommil.annotations.points import Points
from napari_zoommil.errors import AnnotationError, FileError, ZoomMILError
from napari_zoommil.files import Stamp, locked, make_folder, read_file, stamp_of, sweep, write_file
from napari_zoommil.slides import Slide
from napari_zoommil.slides.fingerprint import fingerprint

SUFFIX = ".points.geojson"

NOTHING = Content((), (), Envelope())


def beside(slide: Slide) -> Path:
    """Where annotations lie when the slide's folder can be written to."""
    return slide.path.absolute().parent / f"{slide.stem}{SUFFIX}"


def annotations_path(slide: Slide) -> Path:
    """Where the annotations of a slide are kept.

    Beside the slide where one may write; else in the user's data folder under the slide's fingerprint,
    without its name, which can identify a patient.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    path = beside(slide)
    return path if _writable(path.parent) else _in_users_folder(slide.path)


def _in_users_folder(slide: Path) -> Path:
    try:
        who = fingerprint(slide)  # that of a slide object changes with colour management
    except OSError as error:
        raise AnnotationError(f"{slide.name} cannot be read any more: {error}") from error
    return user_data_path("napari-zoommil") / "annotations" / f"{who}{SUFFIX}"


def current_path(slide: Slide) -> Path:
    """The file that holds the annotations of a slide now, if any does: the one beside the slide as long as
    nothing is in :func:`annotations_path`.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    kept = annotations_path(slide)
    return kept if kept.exists() else beside(slide)


_refused: set[Path] = set()
"""Folders in which no file could be made, whatever their permissions say."""


def _writable(folder: Path) -> bool:
    """Whether files can be made there, as far as can be told without making one: a slide is looked at more
    often than written about, and on a network share each file costs."""
    return folder not in _refused and os.access(folder, os.W_OK | os.X_OK)


def try_writing(folder: Path) -> None:
    """Make a file there and delete it, which tells what permissions alone do not on a network share; to be
    called when something is to be written there, and not before."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            _refused.discard(folder)
    except OSError:
        _refused.add(folder)


class Places(NamedTuple):
    """Files of a slide's annotations: ``path`` is written to, ``current`` holds them now, if any does."""

    path: Path
    current: Path


def places_to_write(slide: Slide) -> Places:
    """As :func:`annotations_path` and :func:`current_path` tell, after trying to write beside the slide.

    Raises
    ------
    AnnotationError
        If the slide can no longer be read.
    """
    try_writing(beside(slide).parent)
    path = annotations_path(slide)
    return Places(path, path if path.exists() else beside(slide))


class Merged(NamedTuple):
    """A file that others had changed: the conflicts, what it held unless it was damaged, and its stamp."""

    conflicts: tuple[Conflict, ...]
    theirs: Content | None = None
    stamp: Stamp | None = None


class Autosave:
    """Keeps a document on disk: after each edit, the file holds it.

    An edit never fails because of the disk. What went wrong stands in ``problem``, is emitted by
    ``failed``, and the next edit tries again.

    Attributes
    ----------
    points : Points
    path : Path
    problem : ZoomMILError or None
    """

    failed = Signal(ZoomMILError)
    merged = Signal(tuple)
    """The conflicts, after a file that others had changed was merged."""

    def __init__(
        self, points: Points, path: Path, base: Content = NOTHING, stamp: Stamp | None = None
    ) -> None:
        self.points, self.path = points, Path(os.path.realpath(path))
        self.problem: ZoomMILError | None = None
        self._base, self._stamp = base, stamp
        self._blocks: Blocks = {}
        self._busy = False
        self._slide: Path | None = None  # whose folder has not been written to yet
        # A method would be held weakly, and a document is to be saved as long as it lives.
        self._follow = lambda: self._changed()
        points.changed.connect(self._follow)

    @classmethod
    def open(
        cls, path: Path, annotator: str = "", start: Path | None = None, classes: Iterable[CellClass] = ()
    ) -> Autosave:
        """The annotations in a file, or none if there is no such file yet.

        Parameters
        ----------
        path : Path
            Where they are kept from now on.
        annotator : str
        start : Path, optional
            What to begin with if ``path`` is not there, such as a file that can only be read.
        classes : iterable of CellClass
            What to begin with if neither is there.

        Raises
        ------
        FileError
            If the file cannot be read.
        AnnotationError
            If it is malformed.
        """
        path = Path(os.path.realpath(path))
        stamp = stamp_of(path)
        found = path if stamp else start if start and start.exists() else None
        points = Points(annotator, () if found else classes)
        if found:
            points.adopt(loads(read_file(found), found.name))
        return cls(points, path, points.content if stamp else NOTHING, stamp)

    @classmethod
    def of(cls, slide: Slide, annotator: str = "", classes: Iterable[CellClass] = ()) -> Autosave:
        """The annotations of a slide, see :func:`annotations_path`.

        Nothing is written. Where the first edit finds that the slide's folder takes no file, whatever its
        permissions say, annotations are kept in the user's folder from then on.
        """
        home = beside(slide)
        if _in_users_folder(slide.path).exists():  # the folder has refused files before
            try_writing(home.parent)
        path = annotations_path(slide)
        kept = cls.open(path, annotator, home, classes)
        kept._slide = slide.path if path == home else None
        return kept

    def close(self) -> None:
        """Stop following the document."""
        self.points.changed.disconnect(self._follow)

    def save(self) -> None:
        """Write the document, merged with what others have made of the file.

        Raises
        ------
        FileError
            If it cannot be written, or what others have made of it cannot be read.
        """
        if self._busy:
            return
        self._busy = True
        try:
            try:
                merged = self._write()
            except FileError:
                if not self._moved():
                    raise
                merged = self._write()
            self.problem = self._slide = None
        finally:
            self._busy = False
        if merged:
            self.merged.emit(merged.conflicts)

    def _write(self) -> Merged | None:
        make_folder(self.path.parent)
        with locked(self.path):
            merged = self._catch_up()
            content = self.points.content
            if merged and merged.theirs and same_content(content, merged.theirs):
                self._stamp = merged.stamp  # written again, readers would answer each other for ever
            else:
                self._stamp = write_file(self.path, dumps(content, self._blocks))
            self._base = content
        return merged

    def _moved(self) -> bool:
        """Whether the slide's folder takes no file at all, and another place is written to from now on."""
        if self._slide is None:
            return False
        folder = self._slide.absolute().parent
        try_writing(folder)
        if _writable(folder):
            return False
        self.path, self._stamp = Path(os.path.realpath(_in_users_folder(self._slide))), None
        return True

    def refresh(self) -> bool:
        """Take over what others have made of the file; whether there was anything.

        Raises
        ------
        FileError
        """
        if stamp_of(self.path) in (self._stamp, None):
            return False
        self.save()
        return True

    def _changed(self) -> None:
        try:
            self.save()
        except ZoomMILError as error:
            self.problem = error
            self.failed.emit(error)

    def _catch_up(self) -> Merged | None:
        """Merge the file if others have changed it; None if they have not."""
        sweep(self.path)
        stamp = stamp_of(self.path)
        if stamp in (self._stamp, None):
            return None
        try:
            theirs = loads(read_file(self.path), self.path.name)
        except AnnotationError:
            return Merged((self._put_aside(),))
        content, conflicts = merge(self._base, self.points.content, theirs)
        self.points.adopt(content)
        return Merged(conflicts, theirs, stamp)

    def _put_aside(self) -> Conflict:
        """Keep a file that cannot be read under another name: it may be half of somebody's work."""
        stem, number = self.path.name.removesuffix(".geojson"), 1
        while (aside := self.path.with_name(f"{stem}.damaged-{number}.geojson")).exists():
            number += 1
        try:
            os.replace(self.path, aside)
        except OSError as error:
            raise FileError(f"{self.path.name} is damaged and cannot be replaced; rename it") from error
        return Conflict(
            "", f"{self.path.name} was damaged on disk: it was kept as {aside.name} and written anew"
        )
