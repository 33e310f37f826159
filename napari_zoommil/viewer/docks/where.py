"""Where a job looks: the whole tissue, the window, or regions of the slide's annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import napari
from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_zoommil.annotations import Changed
from napari_zoommil.annotations.feature import Feature
from napari_zoommil.annotations.regions import Region
from napari_zoommil.viewer.docks.parts import row
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.layers.drawing import HOW
from napari_zoommil.viewer.layers.view_region import window_region
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import lack_of
from napari_zoommil.viewer.session import Session

WINDOW, TISSUE = "Visible window", "All tissue"
SETTLED_MS = 400
"""After which the view counts as being at rest."""

CHARACTERS = 12
"""Least width of the choice."""

RULE = "patches with tissue inside are read, and cells with their centre inside count; holes are outside"


@dataclass(frozen=True)
class Inside:
    """A choice of regions: all of them, those of a class, or with an empty name those without class."""

    class_name: str | None = None

    def takes(self, region: Feature) -> bool:
        return self.class_name in (None, region.class_name)

    @property
    def takes_drawn(self) -> bool:
        """Whether it takes a region that is drawn without class."""
        return not self.class_name

    @property
    def title(self) -> str:
        if self.class_name is None:
            return "Inside all regions"
        return f"Inside {self.class_name}" if self.class_name else "Inside regions without class"


Choice = str | Inside


class Where(QWidget):
    """The choice of where a job looks, with a button to draw a region there.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    first : str
        What is chosen at first, :data:`WINDOW` or :data:`TISSUE`.
    changed : callable
        Called when the place is another one: by choice, by another view, or because regions were edited.
    """

    def __init__(
        self, viewer: napari.Viewer, session: Session, first: str, changed: Callable[[], None]
    ) -> None:
        super().__init__()
        self._viewer, self._session, self._first, self._changed = viewer, session, first, changed
        self._entry: OpenSlide | None = None
        self._known: list[Feature] = []
        self._choices: list[Choice] = []
        self._drawing = False
        self.choice = QComboBox()
        self.choice.setToolTip(f"Where it looks. Inside regions means: {RULE}")
        # Long names of classes are cut off and do not widen the dock.
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.choice.setMinimumContentsLength(CHARACTERS)
        self.choice.currentIndexChanged.connect(lambda _: changed())
        self.draw = QPushButton("Draw region")
        self.draw.clicked.connect(self._draw)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(SETTLED_MS)
        self._rest.timeout.connect(changed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row(self.choice, self.draw, stretch=0))
        self._follower = Follower()
        self._follower.follow(session.document_changed, self._document_changed)
        camera = viewer.scene.camera.events
        for event in (camera.zoom, camera.center):
            self._follower.follow(event, self._moved)
        self._offer()

    def stop(self) -> None:
        """Follow nothing more."""
        self._rest.stop()
        self._follower.stop()

    @property
    def chosen(self) -> Choice:
        return self._choices[max(self.choice.currentIndex(), 0)]

    @property
    def title(self) -> str:
        """What is chosen, such as ``all tissue``, in the middle of a sentence."""
        title = self.chosen if isinstance(self.chosen, str) else self.chosen.title
        return f"{title[0].lower()}{title[1:]}"

    def choose(self, choice: Choice) -> None:
        """Choose a place that is offered."""
        self.choice.setCurrentIndex(self._choices.index(choice))

    def set_slide(self, entry: OpenSlide | None) -> None:
        """Offer the regions of a slide; it does not call back."""
        self._entry, self._drawing = entry, False
        why = lack_of(entry.slide if entry else None, needs_pixel_size=False)
        if not why and entry is not None and entry.document is None:
            why = "The annotations of this slide are not read: see the Annotate dock"
        self.draw.setEnabled(not why)
        self.draw.setToolTip(
            why or f"Draw a region, without class, to look there; each press adds one. {HOW}"
        )
        self._offer()

    def regions(self) -> tuple[tuple[Region, ...], str]:
        """The regions to look in, none for all tissue; and why it cannot look there, if so."""
        entry, chosen = self._entry, self.chosen
        if entry is None or chosen == TISSUE:
            return (), ""
        if chosen == WINDOW:
            seen = window_region(self._viewer, entry.slide)
            return ((seen,), "") if seen else ((), "The window shows nothing of the slide")
        assert isinstance(chosen, Inside)
        found = tuple(polygon for one in self._known if chosen.takes(one) for polygon in one.polygons)
        return found, "" if found else "Draw a region first"

    def _offer(self) -> None:
        """List what there is; the choice stays as long as it is there."""
        points = self._entry.document.points if self._entry and self._entry.document else None
        self._known = list(points.regions.values()) if points else []
        names = dict.fromkeys(one.class_name for one in self._known)
        others = [name for name in names if name] + ([""] if "" in names else [])
        inside = [Inside(), *map(Inside, others if len(others) > 1 or any(others) else [])]
        before: Choice = self.chosen if self._choices else self._first
        self._choices = [self._first, WINDOW if self._first == TISSUE else TISSUE, *inside]
        with QSignalBlocker(self.choice):
            self.choice.clear()
            for one in self._choices:
                self.choice.addItem(one if isinstance(one, str) else self._titled(one))
            self.choice.setCurrentIndex(self._choices.index(before) if before in self._choices else 0)

    def _titled(self, inside: Inside) -> str:
        count = sum(inside.takes(one) for one in self._known)
        return f"{inside.title} ({count:,})"

    def _document_changed(self, entry: OpenSlide, changed: Changed) -> None:
        if entry is self._entry and not self.draw.isEnabled():
            self.set_slide(entry)  # the annotations have been read
        if entry is self._entry and (changed.regions or changed.classes):
            before, chosen = list(self._known), self.chosen
            self._offer()
            if self._drawing and Inside("") in self._choices:  # what was drawn to look there has no class
                self._drawing = False
                self.choose(Inside(""))
            if self.chosen != chosen or (isinstance(chosen, Inside) and before != self._known):
                self._changed()

    def _moved(self, _event: object) -> None:
        if self.chosen == WINDOW:
            self._rest.start()

    def _draw(self) -> None:
        entry = self._entry
        if entry is None or entry.document is None:
            return
        self._session.documents.show(entry)
        self._session.documents.mend(entry)
        assert entry.annotations is not None
        entry.annotations.regions.start()
        self._drawing = True
        if not isinstance(self.chosen, Inside) or not self.chosen.takes_drawn:
            self.choose(Inside("") if Inside("") in self._choices else Inside())
