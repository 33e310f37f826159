"""The annotation document of one slide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from napari_zoommil.annotations.classes import (
    DEFAULT_DIAMETER_UM,
    CellClass,
    Colour,
    added_to,
    next_colour,
)
from napari_zoommil.annotations.collection import without_collection
from napari_zoommil.annotations.coordinates import as_places, as_polygons
from napari_zoommil.annotations.edits import Change, Changed, Classes, Edit, History
from napari_zoommil.annotations.feature import Feature
from napari_zoommil.annotations.feature_edits import (
    Restyled,
    classed,
    moved,
    new_point,
    new_region,
    redrawn,
    unclassed,
    without,
)
from napari_zoommil.annotations.feature_edits import in_frame as in_frame_of
from napari_zoommil.annotations.geojson import (
    OWN_MEMBER,
    Content,
    Envelope,
    classes_of,
    dumps,
    faults_of,
    in_frame,
    with_classes,
)
from napari_zoommil.annotations.geojson_outlines import WHOLE_SLIDE
from napari_zoommil.annotations.reading import read_content
from napari_zoommil.annotations.state import DocumentState
from napari_zoommil.errors import AnnotationError
from napari_zoommil.files import write_file
from napari_zoommil.geometry import Pair

Drawn: TypeAlias = ArrayLike | shapely.Geometry


class Points:
    """Cells of a slide, and regions of it, with their classes; regions may have none.

    In a complete region every cell is annotated. All coordinates are level-0 px, (y, x). A class is
    identified by its label: 1, 2, … in the order of ``classes``; 0 is no class. Each editing method is one
    step of the undo history for any number of points or regions. If an edit is invalid, it raises
    :class:`AnnotationError` and changes nothing.

    Parameters
    ----------
    annotator : str
        Name stored with the points that are added here.
    classes : iterable of CellClass
    origin : (float, float)
        Level-0 (y, x) from which coordinates in its file count.
    """

    changed = Signal(Changed)

    def __init__(
        self, annotator: str = "", classes: Iterable[CellClass] = (), origin: Pair = WHOLE_SLIDE
    ) -> None:
        self.annotator = annotator
        self._state = DocumentState(tuple(classes))
        self._classes_read: Classes = ()
        self._envelope = Envelope(origin=origin)
        self._history = History()

    @classmethod
    def read(cls, path: str | Path, annotator: str = "", origin: Pair | None = None) -> Points:
        """The annotations in a GeoJSON file, or in an XML file of ASAP or ImageScope.

        ``origin`` is :attr:`~napari_zoommil.slides.Slide.origin` of their slide; without it coordinates are
        those of the file, until a job places them on a slide.

        Raises
        ------
        FileError
            If it cannot be read.
        AnnotationError
            If it is malformed.
        """
        points = cls(annotator)
        points.adopt(read_content(Path(path), origin))
        return points

    def placed(self, origin: Pair) -> Points:
        """The document on its slide: another one if it was read without its ``origin``, else the same."""
        if self._envelope.origin is not None:
            return self
        points = Points(self.annotator)
        points.adopt(in_frame(self.content, origin))
        return points

    def write(self, path: str | Path) -> None:
        """Write a GeoJSON file atomically.

        Raises
        ------
        FileError
            If it cannot be written.
        """
        write_file(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """The document as GeoJSON text."""
        return dumps(self.content)

    @property
    def content(self) -> Content:
        """The content of a file of this document."""
        features, envelope = tuple(self.features.values()), self._envelope
        if self.classes != self._classes_read or (self.can_undo and not self._told_by(features)):
            envelope = with_classes(envelope, self.classes)
        return Content(features, self.classes, envelope)

    @property
    def faults(self) -> str:
        """What of the file cannot be read and is only kept, as the end of a sentence."""
        return faults_of(self.content)

    @property
    def _origin(self) -> Pair:
        return self._envelope.origin or WHOLE_SLIDE

    def _told_by(self, features: tuple[Feature, ...]) -> bool:
        """Whether the features alone define the classes and their order."""
        stated = OWN_MEMBER in self._envelope.members
        return not stated and classes_of(features, self._envelope) == self.classes

    def __len__(self) -> int:
        return len(self._state.rows)

    def __bool__(self) -> bool:
        """True, also for an empty document."""
        return True

    def __repr__(self) -> str:
        regions, complete = len(self._state.regions), len(self.complete)
        return f"Points({len(self)} in {len(self.classes)} classes, {regions} regions, {complete} complete)"

    @property
    def classes(self) -> Classes:
        return self._state.classes

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """(n, 2) level-0 px, y and x; a copy."""
        return self._state.rows.coordinates

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) 1, 2, … = index into ``classes`` + 1; a copy."""
        return self._state.rows.labels

    @property
    def ids(self) -> list[str]:
        """Ids of the points, in the order of ``coordinates``; valid as long as the document is open."""
        return self._state.rows.ids.copy()

    @property
    def annotators(self) -> list[str]:
        """Who made each point, in the order of ``coordinates``; empty if the file does not state it."""
        return [feature.annotator for feature in self.features.values() for _ in feature.marks]

    @property
    def counts(self) -> dict[str, int]:
        """Points per class, by name."""
        counts = np.bincount(self._state.rows.labels, minlength=len(self._state.classes) + 1)[1:]
        return {one.name: int(count) for one, count in zip(self._state.classes, counts, strict=True)}

    @property
    def complete(self) -> dict[str, NDArray[np.float64]]:
        """Complete regions: outlines (n, 2) level-0 (y, x), by id."""
        return {id: feature.outline for id, feature in self.regions.items() if feature.complete}

    @property
    def regions(self) -> dict[str, Feature]:
        """All regions by id, in the order of the file, complete ones among them."""
        regions = sorted(self._state.regions.values(), key=lambda feature: feature.serial)
        return {feature.id: feature for feature in regions}

    @property
    def features(self) -> Mapping[str, Feature]:
        """Everything in the document, by the id of the feature, in the order of the file."""
        return self._state.features

    def outside(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(n,) whether each point lies outside a slide of (height, width) level-0 px."""
        places = self._state.rows.coordinates
        out: NDArray[np.bool_] = (places < 0) | (places >= np.asarray(shape))
        return np.logical_or(out[:, 0], out[:, 1])

    @without_collection()
    def add(self, coordinates: ArrayLike, label: int) -> list[str]:
        """Add points of a class at (n, 2) level-0 y and x, or at one (2,); returns their ids."""
        of, new = self._class(label), []
        for place in as_places(coordinates):
            serial = self._state.new_serial()
            new.append(new_point(str(uuid4()), serial, place, of, self.annotator, self._origin))
        self._do(Edit(tuple(Change(None, feature) for feature in new)))
        return [feature.id for feature in new]

    def move(self, ids: Sequence[str], coordinates: ArrayLike) -> None:
        """Move points to (n, 2) level-0 y and x, or one to (2,)."""
        places = as_places(coordinates)
        if len(places) != len(ids):
            raise AnnotationError(f"{len(ids)} points cannot move to {len(places)} places")
        target = dict(zip(ids, places, strict=True))
        self._do(Edit(tuple(Change(one, moved(one, target)) for one, _ in self._state.owners(ids))))

    def remove(self, ids: Iterable[str]) -> None:
        """Remove points."""
        self._do(Edit(tuple(Change(one, without(one, chosen)) for one, chosen in self._state.owners(ids))))

    def set_class(self, ids: Iterable[str], label: int) -> None:
        """Set the class of points; if they are only some of a ``MultiPoint``, they become new features."""
        of, changes = self._class(label), []
        for feature, chosen in self._state.owners(ids):
            if len(chosen) == len(feature.marks):
                changes.append(Change(feature, classed(feature, of)))
                continue
            changes.append(Change(feature, without(feature, chosen)))
            for id, y, x in (mark for mark in feature.marks if mark.id in chosen):
                serial = self._state.new_serial()
                one = new_point(id, serial, (y, x), of, feature.annotator, feature.origin)
                changes.append(Change(None, one))
        self._do(Edit(tuple(changes)))

    def add_class(
        self, name: str, colour: Colour | None = None, diameter_um: float = DEFAULT_DIAMETER_UM
    ) -> int:
        """Add a class and return its label; its colour defaults to the next of a safe cycle."""
        new = CellClass(name, colour or next_colour(self._state.classes), diameter_um)
        self._check_name(name)
        self._do(Edit(classes=(self._state.classes, (*self._state.classes, new))))
        return len(self._state.classes)

    def rename_class(self, label: int, name: str) -> None:
        self._check_name(name, label)
        self._restyle(label, replace(self._class(label), name=name))

    def recolour_class(self, label: int, colour: Colour) -> None:
        self._restyle(label, replace(self._class(label), colour=colour))

    def resize_class(self, label: int, diameter_um: float) -> None:
        """Set the cell diameter of a class, µm."""
        self._restyle(label, replace(self._class(label), diameter_um=diameter_um))

    def remove_class(self, label: int) -> None:
        """Remove a class with its points and regions; the labels above it move down by one."""
        name = self._class(label).name
        kept = tuple(one for one in self._state.classes if one.name != name)
        self._do(
            Edit(tuple(Change(one, None) for one in self._state.of_class(name)), (self._state.classes, kept))
        )

    def add_region(self, drawn: Drawn, label: int = 0) -> str:
        """Add a region, an outline (n, 2) level-0 (y, x) or a shapely polygon with holes; returns its id."""
        return self._add_region(drawn, self._class(label) if label else None)

    def add_complete(self, outline: ArrayLike) -> str:
        """Add a region in which every cell is annotated, an outline (n, 2) level-0 (y, x); returns its id."""
        return self._add_region(outline, complete=True)

    def _add_region(self, drawn: Drawn, of: CellClass | None = None, complete: bool = False) -> str:
        polygons, serial = as_polygons(drawn), self._state.new_serial()
        new = new_region(str(uuid4()), serial, polygons, self.annotator, of, complete, self._origin)
        self._do(Edit((Change(None, new),)))
        return new.id

    def redraw_regions(self, drawn: Mapping[str, Drawn]) -> None:
        """Set new outlines or polygons of regions, by id."""
        new = [(self._region(id), as_polygons(one)) for id, one in drawn.items()]
        self._do(Edit(tuple(Change(one, redrawn(one, polygons)) for one, polygons in new)))

    def remove_regions(self, ids: Iterable[str]) -> None:
        """Remove regions."""
        self._do(Edit(tuple(Change(self._region(id), None) for id in dict.fromkeys(ids))))

    def set_region_class(self, ids: Iterable[str], label: int) -> None:
        """Set the class of regions; label 0 takes it away."""
        of = self._class(label) if label else None
        old = [self._region(id) for id in dict.fromkeys(ids)]
        self._do(Edit(tuple(Change(one, classed(one, of) if of else unclassed(one)) for one in old)))

    @property
    def can_undo(self) -> bool:
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        return self._history.can_redo

    @without_collection()
    def undo(self) -> None:
        """Undo the last edit, except for features that somebody else has changed since."""
        if self.can_undo:
            self._apply(self._history.undo())

    @without_collection()
    def redo(self) -> None:
        """Redo the last undone edit."""
        if self.can_redo:
            self._apply(self._history.redo())

    @without_collection()
    def adopt(self, content: Content) -> None:
        """Replace the content of the document by that of a file, outside of the undo history.

        Features that are already objects of this document stay; others replace those of the same id.
        """
        held, new = self.features, {feature.id: feature for feature in content.features}
        changes = [Change(old, None) for id, old in held.items() if id not in new]
        for id, feature in new.items():
            old = held.get(id)
            if feature is not old:
                serial = old.serial if old else self._state.new_serial()
                same = feature.serial == serial
                changes.append(Change(old, feature if same else replace(feature, serial=serial)))
        classes = None if content.classes == self._state.classes else (self._state.classes, content.classes)
        self._envelope = content.envelope
        self._classes_read = content.classes
        self._apply(Edit(tuple(changes), classes))

    def become(self, other: Points) -> None:
        """Replace features and classes by those of another document, in one step.

        Members of the collection other than its features stay ours; those of the other are left out.
        """
        old, changes = self.features, []
        changes += [Change(one, None) for id, one in old.items() if id not in other.features]
        for id, one in other.features.items():
            serial = old[id].serial if id in old else self._state.new_serial()
            changes.append(Change(old.get(id), replace(in_frame_of(one, self._origin), serial=serial)))
        classes = None if other.classes == self.classes else (self.classes, other.classes)
        self._do(Edit(tuple(changes), classes))

    def take_in(self, other: Points) -> None:
        """Add the features and classes of another document, in one step.

        Features whose id, and classes whose name, already exist here are not changed; a new class whose
        colour a class here has gets another; other members of its collection are left out.
        """
        added = added_to(self._state.classes, other.classes)
        recoloured = {one.name: one for one in set(added) - set(other.classes)}
        known: Restyled = {}
        new = [
            in_frame_of(one, self._origin) for id, one in other.features.items() if id not in self.features
        ]
        new = [
            classed(one, recoloured[one.class_name], known) if one.class_name in recoloured else one
            for one in new
        ]
        changes = tuple(Change(None, replace(one, serial=self._state.new_serial())) for one in new)
        classes = (*self._state.classes, *added)
        self._do(Edit(changes, (self._state.classes, classes) if classes != self._state.classes else None))

    def _do(self, edit: Edit) -> None:
        if edit.changes or edit.classes:
            self._history.record(edit)
            self._apply(edit)

    @without_collection()
    def _apply(self, edit: Edit) -> None:
        if changed := self._state.apply(edit):
            self.changed.emit(changed)

    @without_collection()
    def _restyle(self, label: int, new: CellClass) -> None:
        old = self._class(label)
        if new != old:
            classes = tuple(new if one is old else one for one in self._state.classes)
            known: Restyled = {}
            changes = tuple(Change(one, classed(one, new, known)) for one in self._state.of_class(old.name))
            self._do(Edit(changes, (self._state.classes, classes)))

    def _region(self, id: str) -> Feature:
        if id not in self._state.regions:
            raise AnnotationError("that region is no longer there")
        return self._state.regions[id]

    def _class(self, label: int) -> CellClass:
        if not 1 <= label <= len(self._state.classes):
            raise AnnotationError(f"there is no class {label}; add a class first")
        return self._state.classes[label - 1]

    def _check_name(self, name: str, label: int = 0) -> None:
        if self._state.labels.get(name, label) != label:
            raise AnnotationError(f"there is a class {name} already; choose another name")
