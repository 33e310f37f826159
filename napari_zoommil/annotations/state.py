"""The state of a document: its features, its classes, and the arrays of its cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from napari_zoommil.annotations.columns import Columns
from napari_zoommil.annotations.edits import Change, Changed, Classes, Edit, summary
from napari_zoommil.annotations.feature import Feature, Kind
from napari_zoommil.annotations.geojson import Envelope, classes_of
from napari_zoommil.errors import AnnotationError

MANY = 100
"""Number of changed features above which the arrays are rebuilt instead of updated one by one."""


class DocumentState:
    """The state of a document; it changes only by :meth:`apply`.

    Attributes
    ----------
    classes : tuple of CellClass
    labels : dict
        Label of each class, 1, 2, …, by name.
    rows : Columns
    regions : dict
        Features that are regions, by id.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.labels = {one.name: label for label, one in enumerate(classes, 1)}
        if len(self.labels) < len(classes):
            raise AnnotationError("two classes have one name; give each its own")
        self.rows = Columns()
        self.regions: dict[str, Feature] = {}
        self._features: dict[str, Feature] = {}
        self._in_order = True
        self._owner: dict[str, str] = {}
        self._last_serial = 0

    @property
    def features(self) -> Mapping[str, Feature]:
        """Features by id, in the order of the file."""
        if not self._in_order:
            self._features = dict(sorted(self._features.items(), key=lambda item: item[1].serial))
            self._in_order = True
        return self._features

    def new_serial(self) -> int:
        """The serial number of a new feature, which is last in the order."""
        self._last_serial += 1
        return self._last_serial

    def of_class(self, name: str) -> list[Feature]:
        """Cells and regions of a class."""
        return [one for one in self.features.values() if one.class_name == name]

    def owners(self, ids: Iterable[str]) -> list[tuple[Feature, set[str]]]:
        """The features of points, each with the ids of its points among ``ids``.

        Raises
        ------
        AnnotationError
            If there is no such point.
        """
        chosen: dict[str, set[str]] = defaultdict(set)
        for id in ids:
            if id not in self._owner:
                raise AnnotationError("a point is no longer there")
            chosen[self._owner[id]].add(id)
        return [(self._features[owner], points) for owner, points in chosen.items()]

    def apply(self, edit: Edit) -> Changed | None:
        """Apply an edit; None if it changes nothing.

        A feature that differs from the state before the edit is skipped: somebody else has changed it.
        """
        held = self._features
        changes = [change for change in edit.changes if held.get(change.id) is change.before]
        for change in changes:
            self._keep(change)
        classes = self._reclassed(*edit.classes) if edit.classes else self.classes
        labels = self.labels
        renewed = self._set_classes(classes, changes)
        if len(changes) > MANY and self._same_rows(changes, labels):
            pass
        elif renewed or len(changes) > MANY:
            self.rows.fill((one, self._label(one)) for one in self.features.values())
        else:
            for one in changes:
                self.rows.set(one.before, one.after, self._label(one.after))
        return summary(changes, renewed) if changes or renewed else None

    def _same_rows(self, changes: list[Change], before: dict[str, int]) -> bool:
        """Whether no cell has another place or label, such as after a class got another name or colour."""
        names: dict[str, str] = {}
        for one in changes:
            old, new = one.before, one.after
            if old is None or new is None or old.marks is not new.marks:
                return False
            if names.setdefault(old.class_name, new.class_name) != new.class_name:
                return False
        if any(self.labels.get(names.get(name, name)) != label for name, label in before.items()):
            return False
        changed = [before.get(name) for name in names if names[name] != name]
        cells = sum(len(one.before.marks) for one in changes if one.before and one.before.class_name in names)
        return not changed or cells == sum(np.count_nonzero(self.rows.labels == label) for label in changed)

    def _reclassed(self, before: Classes, after: Classes) -> Classes:
        """The current classes after an edit that changed ``before`` to ``after``.

        Classes that others have added stay, and so does a removed class that others have given to cells.
        """
        if len(before) == len(after):  # a new name, colour or size
            if self.classes == before:
                return after
            other = dict(zip(before, after, strict=True))
            taken = {one.name for one in self.classes if other.get(one, one) == one}
            changed = (other.get(one, one) for one in self.classes)
            return tuple(
                old if new.name in taken else new for old, new in zip(self.classes, changed, strict=True)
            )
        used = {one.class_name for one in self._features.values()} if len(after) < len(before) else set()
        lost = [one for one in before if one.name in used - {other.name for other in after}]
        if self.classes == before and not lost:
            return after
        kept = [one for one in self.classes if one in after or one not in before or one in lost]
        names = {one.name for one in kept}
        return (*kept, *(one for one in after if one not in before and one.name not in names))

    def _label(self, feature: Feature | None) -> int:
        return self.labels.get(feature.class_name, 0) if feature else 0

    def _keep(self, change: Change) -> None:
        before, after = change.before, change.after
        same = before is not None and after is not None and before.marks is after.marks
        if before is not None and not same:
            for mark in before.marks:
                self._owner.pop(mark.id, None)
        if self.regions:
            self.regions.pop(change.id, None)
        if after is None:
            del self._features[change.id]
            return
        if before is None and self._features:
            self._in_order &= next(reversed(self._features.values())).serial < after.serial
        self._features[change.id] = after
        for mark in () if same else after.marks:
            self._owner[mark.id] = after.id
        if after.kind is Kind.REGION:
            self.regions[change.id] = after

    def _set_classes(self, classes: Classes, changes: list[Change]) -> bool:
        """Set the classes, with those that only features state; returns whether they changed."""
        names = {one.name for one in classes}
        orphans = [one.after for one in changes if one.after and one.after.class_name not in {"", *names}]
        if orphans:
            found = classes_of(orphans, Envelope())
            classes = (*classes, *(one for one in found if one.name not in names))
        if classes == self.classes:
            return False
        self.classes = classes
        self.labels = {one.name: label for label, one in enumerate(classes, 1)}
        return True
