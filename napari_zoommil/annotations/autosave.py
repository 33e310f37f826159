"""Autosave: each edit of an annotation document is written to its file, which other programs may share.

Each edit writes the whole file, so that any program can open it at any time. The text of unchanged
features is cached, so that an edit costs the writing but not the formatting. A file that another program
has changed is merged, not overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from psygnal import Signal

from napari_zoommil.annotations.classes import CellClass
from napari_zoommil.annotations.feature_text import as_dict
from napari_zoommil.annotations.geojson import (
    DOCUMENT_KEY,
    OWN_MEMBER,
    OWNER_KEY,
    Blocks,
    Content,
    Envelope,
    dumps,
    in_frame,
    loads,
    owned,
)
from napari_zoommil.annotations.geojson_outlines import WHOLE_SLIDE
from napari_zoommil.annotations.merge import Conflict, Stranger, merge, same_content
from napari_zoommil.annotations.paths import (
    annotations_path,
    beside,
    identity,
    in_users_folder,
    try_writing,
    writable,
)
from napari_zoommil.annotations.points import Points
from napari_zoommil.errors import AnnotationError, FileError, ZoomMILError
from napari_zoommil.files import (
    Stamp,
    locked,
    make_folder,
    read_file,
    real,
    stamp_of,
    write_file,
)
from napari_zoommil.geometry import Pair
from napari_zoommil.slides import Slide

NOTHING = Content((), (), Envelope())


class Merged(NamedTuple):
    """The merge of a file that others changed: conflicts, its content (None if it was damaged), its stamp."""

    conflicts: tuple[Conflict, ...]
    theirs: Content | None = None
    stamp: Stamp | None = None


class Autosave:
    """Saves a document to its file after each edit.

    An edit never fails because of the disk. The error is stored in ``problem`` and emitted by
    ``failed``, and the next edit tries again.

    Attributes
    ----------
    points : Points
    path : Path
    problem : ZoomMILError or None
    """

    failed = Signal(ZoomMILError)
    merged = Signal(tuple)
    """Emits the conflicts after a merge with a file that others had changed."""

    def __init__(
        self,
        points: Points,
        path: Path,
        base: Content = NOTHING,
        stamp: Stamp | None = None,
        origin: Pair = WHOLE_SLIDE,
        document: str = "",
    ) -> None:
        self.points, self.path = points, real(path)
        self.problem: ZoomMILError | None = None
        self._base, self._stamp, self._origin = base, stamp, origin
        self._blocks: Blocks = {}
        self._busy = False
        self._slide: Path | None = None  # whose folder has not been written to yet
        self._owner = ""
        self._document = _stated(points.content, DOCUMENT_KEY) or document
        self._refused: set[str] = set()  # documents that were put aside, by their id
        self._untold: list[Conflict] | None = None  # of merges that are not on disk yet
        # Not a bound method: it would be referenced weakly, and saving must last as long as the document.
        self._follow = lambda: self._changed()
        points.changed.connect(self._follow)

    @classmethod
    def open(
        cls,
        path: Path,
        annotator: str = "",
        start: Path | None = None,
        classes: Iterable[CellClass] = (),
        origin: Pair = WHOLE_SLIDE,
    ) -> Autosave:
        """The annotations in a file; an empty document if the file does not exist yet.

        Parameters
        ----------
        path : Path
            The file to which they are saved.
        annotator : str
        start : Path, optional
            File to read if ``path`` does not exist, such as one that is read-only.
        classes : iterable of CellClass
            Classes of the empty document.
        origin : (float, float)
            :attr:`~napari_zoommil.slides.Slide.origin` of the slide.

        Raises
        ------
        FileError
            If the file cannot be read.
        AnnotationError
            If it is malformed.
        """
        path = real(path)
        stamp = stamp_of(path)
        found = path if stamp else start if start and start.exists() else None
        points, document = Points(annotator, () if found else classes, origin), ""
        if found:
            text = read_file(found)
            points.adopt(loads(text, found.name, origin))
            # All windows give a file without an id the same one, and so know what another made of it.
            document = sha256(text).hexdigest()[:32] if points.features else ""
        return cls(points, path, points.content if stamp else NOTHING, stamp, origin, document)

    @classmethod
    def of(cls, slide: Slide, annotator: str = "", classes: Iterable[CellClass] = ()) -> Autosave:
        """The annotations of a slide, see :func:`annotations_path`.

        Nothing is written. If at the first edit no file can be created in the slide's folder, although its
        permissions allow it, the annotations are saved in the user's data folder from then on.
        """
        home = beside(slide)
        if in_users_folder(slide.path).exists():  # the folder has refused files before
            try_writing(home.parent)
        path = annotations_path(slide)
        kept = cls.open(path, annotator, home, classes, slide.origin)
        kept._slide = slide.path if path == home else None
        kept._owner = identity(slide.path)
        return kept

    def close(self) -> None:
        """Stop saving the document."""
        self.points.changed.disconnect(self._follow)

    def save(self) -> None:
        """Write the document, merged with the changes that others made to the file.

        Raises
        ------
        FileError
            If the file cannot be written, or the changed file cannot be read.
        """
        if self._busy:
            return
        self._busy = True
        try:
            try:
                self._write()
            except FileError:
                if not self._moved():
                    raise
                self._write()
            self.problem = self._slide = None
        finally:
            self._busy = False
        if self._untold is not None:
            told, self._untold = tuple(self._untold), None
            self.merged.emit(told)

    def _write(self) -> None:
        make_folder(self.path.parent)
        with locked(self.path):
            merged = self._catch_up()
            if merged:  # kept here, because a write that fails now is tried again without a merge
                untold = self._untold or []
                self._untold = [*untold, *(one for one in merged.conflicts if one not in untold)]
            self._document = self._document or uuid4().hex
            content = owned(self.points.content, self._owner, self._document)
            if merged and merged.theirs and same_content(content, merged.theirs):
                self._stamp = merged.stamp  # not written, because two programs would trigger each other
            else:
                self._stamp = write_file(self.path, dumps(content, self._blocks))
            self._base = content

    def _moved(self) -> bool:
        """Switch to the user's data folder if no file can be created next to the slide; returns whether."""
        if self._slide is None:
            return False
        folder = self._slide.absolute().parent
        try_writing(folder)
        if writable(folder):
            return False
        self.path, self._stamp = real(in_users_folder(self._slide)), None
        return True

    def refresh(self) -> bool:
        """Merge the changes that others made to the file; returns whether there were any.

        Raises
        ------
        FileError
        """
        if self._untold is None and stamp_of(self.path) in (self._stamp, None):
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
        """Merge the file if others have changed it; None if it is unchanged."""
        stamp = stamp_of(self.path)
        if stamp in (self._stamp, None):
            return None
        try:
            theirs = loads(read_file(self.path), self.path.name, self._origin)
            theirs = in_frame(theirs, self.points.content.envelope.origin)
        except AnnotationError:
            return Merged((self._put_aside("damaged", "was damaged on disk", "the damaged file")[0],))
        document, notes = _stated(theirs, DOCUMENT_KEY), tuple[Conflict, ...]()
        if self._strange(theirs):
            if document not in self._refused:
                return Merged((self._stranger(theirs),))
            notes = (self._returned(theirs),)
            self._base = NOTHING  # so that only additions are merged, also if it has to be tried again
        self._document = document or self._document
        content, conflicts = merge(self._base, self.points.content, theirs)
        self.points.adopt(content)
        return Merged((*notes, *conflicts), theirs, stamp)

    def _strange(self, theirs: Content) -> bool:
        """Whether a file is another document that took the place of ours, and not a later state of it."""
        if self._is_of_other_slide(theirs):
            return True
        if self._document and _stated(theirs, DOCUMENT_KEY) == self._document:
            return False
        ours, known = ({one.id for one in each.features} for each in (self._base, theirs))
        return bool(ours) and not ours & known

    def _is_of_other_slide(self, theirs: Content) -> bool:
        owner = _stated(theirs, OWNER_KEY)
        return bool(owner and self._owner and owner != self._owner)

    def _stranger(self, theirs: Content) -> Stranger:
        is_of_other = self._is_of_other_slide(theirs)
        how = "are of another slide" if is_of_other else "share nothing with it"
        told, aside = self._put_aside("other", f"was replaced by annotations that {how}", "theirs")
        if document := _stated(theirs, DOCUMENT_KEY):
            self._refused.add(document)
        return Stranger("", told.note, aside, theirs, is_of_other)

    def _returned(self, theirs: Content) -> Conflict:
        """What is told of a document that was put aside and that another window has saved in our place again.

        Two windows that put each other's aside would never end; so both are kept in one, where they can be.

        Raises
        ------
        FileError
            If it is of another slide.
        """
        if self._is_of_other_slide(theirs):
            raise FileError(
                f"{self.path.name} is also saved by another window, with annotations of another slide; "
                "close that window and rename the file"
            )
        note = (
            f"{self.path.name} is also saved by another window, with other annotations: both are kept in it"
        )
        return Conflict("", note)

    def take(self, stranger: Stranger) -> Path:
        """Let the document be that of a stranger, in one step; returns the file in which ours is kept.

        Raises
        ------
        FileError
            If ours cannot be kept; nothing is changed.
        """
        kept = self._aside("mine")
        write_file(kept, dumps(self.points.content))
        self.points.become(_document_of(stranger))
        return kept

    def take_in(self, stranger: Stranger) -> None:
        """Add the document of a stranger to ours, in one step."""
        self.points.take_in(_document_of(stranger))

    def _put_aside(self, why: str, what: str, kept: str) -> tuple[Conflict, Path]:
        """Rename a file that is not merged, so that nothing in it is lost."""
        aside = self._aside(why)
        try:
            os.replace(self.path, aside)
        except OSError as error:
            raise FileError(f"{self.path.name} {what} and cannot be renamed; rename it") from error
        note = f"{self.path.name} {what}: {kept} was kept as {aside.name}, and yours is written again"
        return Conflict("", note), aside

    def _aside(self, why: str) -> Path:
        """Name of a file beside that of the document that is not there yet."""
        stem, number = self.path.name.removesuffix(".geojson"), 1
        while (aside := self.path.with_name(f"{stem}.{why}-{number}.geojson")).exists():
            number += 1
        return aside


def _stated(content: Content, key: str) -> str:
    """What a document of ours says of itself; empty if it does not say."""
    stated = as_dict(content.envelope.members.get(OWN_MEMBER)).get(key)
    return stated if isinstance(stated, str) else ""


def _document_of(stranger: Stranger) -> Points:
    points = Points()
    points.adopt(stranger.content)
    return points
