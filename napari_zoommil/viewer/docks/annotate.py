"""The Annotate dock: mark cells by key and click."""

from __future__ import annotations

from typing import Any

import napari
from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QSignalBlocker
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QLineEdit, QShortcut

from napari_zoommil.annotations import Changed, Conflict, Points
from napari_zoommil.annotations.classes import Colour
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.viewer import camera, keys
from napari_zoommil.viewer.annotation import SlideAnnotations
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.annotate_parts import HelpSheet, button, headline, several, whereabouts
from napari_zoommil.viewer.docks.classes import ClassList
from napari_zoommil.viewer.docks.parts import Follower, Page, Sentence, heading, row
from napari_zoommil.viewer.session import OpenSlide, session_of
from napari_zoommil.viewer.settings import annotator, set_annotator

LOOK_AT = 20.0
"""Magnification at which a cell can be judged."""


class AnnotateDock(Page):
    """Classes, placing, complete regions, uncertain detections, undo, and where it all is kept."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(closed=self._stop)
        self._viewer = viewer = real_viewer(napari_viewer)
        self._session = session_of(viewer)
        self._follower, self._heard = Follower(), Follower()
        self._open: dict[OpenSlide, SlideAnnotations] = {}
        self.current: SlideAnnotations | None = None
        self._unsaved = ""
        self._build()
        self._actions = {
            "choose": self._choose,
            "remove": lambda _: self._remove(),
            "relabel": lambda _: self._relabel(),
            "next": lambda _: self._fly(1),
            "previous": lambda _: self._fly(-1),
            "hide": lambda _: self._hide(),
            "complete": lambda _: self._toggle_complete(),
            "undo": lambda _: self._undo(),
            "redo": lambda _: self._redo(),
            "rename": lambda _: self._rename(),
            "help": lambda _: self._toggle_help(),
        }
        self._follower.follow(self._session.activated, self._show)
        self._follower.follow(self._session.changed, self._slide_changed)
        self._follower.follow(self._session.removed, self._slide_removed)
        self._follower.follow(viewer.layers.selection.events.active, self._show_mode)
        self._show(self._session.active)
        if self.current is not None:
            self._place(True)

    def _build(self) -> None:
        self.slide = Sentence(name="annotate-slide")
        self.classes = ClassList()
        self.classes.chosen.connect(self._choose)
        self.classes.renamed.connect(lambda label, name: self._edit("rename_class", label, name))
        self.classes.recoloured.connect(self._recolour)
        self.add = button("+ Class", "Add a class and name it")
        self.add.clicked.connect(self._add_class)
        self.drop = button("Remove", "Remove the chosen class with its points (undo brings them back)")
        self.drop.clicked.connect(self._remove_class)
        self.diameter = QDoubleSpinBox()
        self.diameter.setRange(1.0, 200.0)
        self.diameter.setDecimals(1)
        self.diameter.setSuffix(" µm")
        self.diameter.setKeyboardTracking(False)
        self.diameter.setToolTip(
            "Diameter of a cell of the chosen class, µm: how large its points are drawn, "
            "and how large a disc a model learns from each"
        )
        self.diameter.valueChanged.connect(self._resize)
        if (typed := self.diameter.lineEdit()) is not None:
            typed.returnPressed.connect(self.diameter.clearFocus)  # keys belong to the canvas again
        self.placing = button("Place points", "", checkable=True)
        self.placing.setMinimumHeight(30)
        self.placing.clicked.connect(self._place)
        self.undo = button("Undo", "")
        self.undo.clicked.connect(self._undo)
        self.redo = button("Redo", "")
        self.redo.clicked.connect(self._redo)
        self.complete = button("Complete region", "", checkable=True)
        self.complete.clicked.connect(self._toggle_complete)
        self.hide_overlays = button(
            "Overlays", keys.with_keys("Hide what lies over the slide, and bring it back", "hide")
        )
        self.hide_overlays.clicked.connect(self._hide)
        self.previous = button("◂", keys.with_keys("The detection before", "previous"))
        self.previous.clicked.connect(lambda: self._fly(-1))
        self.next = button("Next uncertain ▸", keys.with_keys("The next most uncertain detection", "next"))
        self.next.clicked.connect(lambda: self._fly(1))
        self.note = Sentence(name="annotate-note")
        self._build_rest()

    def _build_rest(self) -> None:
        self.name = QLineEdit(annotator())
        self.name.setToolTip("Who annotates: written with each point, so that readers can share a slide")
        self.name.editingFinished.connect(self._set_annotator)
        self.name.returnPressed.connect(self.name.clearFocus)
        self.file = Sentence(name="annotate-file")
        self.help_button = button("? Keys", keys.with_keys("All keys", "help"))
        self.help_button.clicked.connect(self._toggle_help)
        self.help = HelpSheet(self)
        self._sign = QShortcut(QKeySequence(keys.HELP_SIGN), self)
        self._sign.activated.connect(self._toggle_help)
        widgets = (
            self.slide,
            heading("Classes"),
            self.classes,
            row(self.add, self.drop, 1, QLabel("Cell Ø"), self.diameter),
            heading("Mark"),
            self.placing,
            row(self.complete, self.undo, self.redo, stretch=0),
            heading("Look"),
            row(self.previous, self.next, self.hide_overlays, stretch=1),
            self.note,
            heading("File"),
            self.file,
            row(QLabel("Annotator"), self.name, self.help_button, stretch=1),
        )
        for widget in widgets:
            self.column.addWidget(widget)
        self.column.addStretch(1)

    # Slides and their documents

    def _show(self, entry: OpenSlide | None) -> None:
        """Another slide is active."""
        if entry is not self._session.active:
            return
        self._heard.stop()
        self.current = None
        if entry is not None:
            try:
                self.current = self._opened(entry)
            except ZoomMILError as error:
                self._complain(error)
        if self.current is not None:
            self._hear(self.current)
            self._catch_up()
        self._refresh()

    def _opened(self, entry: OpenSlide) -> SlideAnnotations:
        if entry not in self._open:
            self.note.setText("")
            self._open[entry] = SlideAnnotations(self._viewer, entry, self.name.text())
            self._bind(self._open[entry])
        return self._open[entry]

    def _bind(self, of: SlideAnnotations) -> None:
        keys.bind(of.view.layer, self._actions)
        keys.bind(of.regions.layer, self._actions, drawing=True)
        of.view.layer.bind_key("Ctrl-V", lambda _: None, overwrite=True)  # napari pastes behind our back

    def _hear(self, of: SlideAnnotations) -> None:
        for signal, callback in (
            (of.points.changed, self._changed),
            (of.saved.failed, self._not_saved),
            (of.saved.merged, self._merged),
            (of.view.editing, self._say),
            (of.view.refused, self._complain),
            (of.regions.refused, self._complain),
            (of.regions.drawn, self._region_drawn),
            (of.view.layer.events.mode, self._show_mode),
            (of.regions.layer.events.mode, self._show_mode),
        ):
            self._heard.follow(signal, callback)

    def _slide_changed(self, entry: OpenSlide) -> None:
        """Its layers may be gone, or its pixels of another size."""
        of = self._open.get(entry)
        if of is not None and not of.in_place:
            self._renew(of)

    def _renew(self, of: SlideAnnotations) -> None:
        self._heard.stop()
        for layer in of.layers:
            keys.unbind(layer)
        of.renew()
        self._bind(of)
        self._show(self._session.active)

    def _slide_removed(self, entry: OpenSlide) -> None:
        of = self._open.pop(entry, None)
        if of is None:
            return
        if of is self.current:
            self._heard.stop()
            self.current = None
        self._let_go(of)

    def _let_go(self, of: SlideAnnotations) -> None:
        for layer in of.layers:
            keys.unbind(layer)
        of.close()

    def event(self, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.WindowActivate:
            self._catch_up()
        return super().event(event)

    def _catch_up(self) -> None:
        """Take over what somebody else has written meanwhile."""
        if self.current is not None:
            try:
                self.current.saved.refresh()
            except ZoomMILError as error:
                self._complain(error)

    # What is shown

    def _refresh(self) -> None:
        of = self.current
        points = of.points if of else None
        classes = points.classes if points is not None else ()
        if of is not None:
            of.view.label = max(1, min(of.view.label, len(classes)))
        label = of.view.label if of else 0
        self.slide.setText(headline(of) if of else "Open a slide first")
        self.classes.show_classes(classes, points.counts if points is not None else {}, label)
        for widget in (self.add, self.placing, self.complete, self.hide_overlays, self.previous, self.next):
            widget.setEnabled(of is not None)
        self.drop.setEnabled(bool(classes))
        self.diameter.setEnabled(bool(classes))
        self._show_undo(points)
        with QSignalBlocker(self.diameter):
            if classes:
                self.diameter.setValue(classes[label - 1].diameter_um)
        self.file.setText(whereabouts(of) if of else "")
        self.file.setToolTip(str(of.saved.path) if of else "")
        self._show_mode()

    def _show_undo(self, points: Points | None) -> None:
        for widget, able, what, action in (
            (self.undo, points is not None and points.can_undo, "Take back the last edit", "undo"),
            (self.redo, points is not None and points.can_redo, "Do again what was undone", "redo"),
        ):
            widget.setEnabled(able)
            widget.setToolTip(keys.with_keys(what if able else f"Nothing to {action}", action))

    def _show_mode(self, _event: object = None) -> None:
        """Buttons show what a click in the canvas does."""
        of, active = self.current, self._viewer.layers.selection.active
        placing = of is not None and active is of.view.layer and of.view.layer.mode == "add"
        drawing = of is not None and of.regions.drawing
        name = of.points.classes[of.view.label - 1].name if of and of.points.classes else "cells"
        self.placing.setChecked(placing)
        self.placing.setText(f"Placing: {name}" if placing else "Place points")
        self.placing.setToolTip(
            "A click in the canvas places a point; click here to stop"
            if placing
            else "Place points of the chosen class by clicks in the canvas (P on the points layer)"
        )
        self.complete.setChecked(drawing)
        self.complete.setToolTip(
            keys.with_keys(
                "Draw a region in which every cell is marked, so that a model may take the rest of it for "
                "background: hold the button and go round",
                "complete",
            )
        )
        self._sign.setEnabled(of is not None and active in of.layers)

    def _changed(self, _changed: Changed) -> None:
        if self.current is not None and self.current.saved.problem is None:
            self._unsaved = ""
        self._refresh()

    def _say(self, text: str = "") -> None:
        self.note.setText(text)

    def _complain(self, error: Exception) -> None:
        self._say(str(error))
        show_warning(str(error))

    def _not_saved(self, error: ZoomMILError) -> None:
        text = f"Not saved: {error}"
        if self._unsaved != text:  # once, not at each edit until it is mended
            show_warning(text)
        self._unsaved = text
        self._say(text)

    def _merged(self, conflicts: tuple[Conflict, ...]) -> None:
        self._refresh()
        self._say("\n".join(["Merged with what somebody else wrote.", *{one.note for one in conflicts}]))
        if conflicts:
            show_warning(self.note.text())

    # What is done

    def _choose(self, label: int) -> None:
        of = self.current
        if of is None:
            return
        if label > len(of.points.classes):
            self._say(f"There is no class {label} yet: + Class adds one")
            return
        of.view.label = label
        self._place(True)
        self._refresh()

    def _place(self, on: bool) -> None:
        """Let clicks place points, or let them be clicks again."""
        of = self.current
        if of is None:
            return
        if not of.in_place:
            self._renew(of)
        if of.regions.drawing:
            of.regions.stop()
        if on:
            of.view.layer.visible = True
            self._viewer.layers.selection.active = of.view.layer
        of.view.layer.mode = "add" if on else "pan_zoom"
        self._show_mode()

    def _edit(self, method: str, *arguments: Any) -> None:
        """One edit of the document, by its name."""
        if self.current is not None:
            edit = getattr(self.current.points, method)
            self.current.view.edit(lambda: edit(*arguments))
            self._refresh()

    def _remove(self) -> None:
        if self.current is not None:
            if ids := self.current.view.at_cursor:
                self._edit("remove", ids)
            else:
                self._say("No point at the cursor, and none selected")

    def _relabel(self) -> None:
        if self.current is not None:
            if ids := self.current.view.at_cursor:
                self._edit("set_class", ids, self.current.view.label)
            else:
                self._say("No point at the cursor, and none selected")

    def _undo(self) -> None:
        self._edit("undo")

    def _redo(self) -> None:
        self._edit("redo")

    def _add_class(self) -> None:
        if self.current is not None:
            taken = {one.name for one in self.current.points.classes}
            number = len(taken) + 1
            while f"class {number}" in taken:
                number += 1
            self._edit("add_class", f"class {number}")
            self._choose(len(self.current.points.classes))
            self._rename()

    def _rename(self) -> None:
        if self.current is not None:
            self.classes.rename(self.current.view.label)

    def _recolour(self, label: int, colour: Colour) -> None:
        self._edit("recolour_class", label, colour)

    def _resize(self, diameter: float) -> None:
        if self.current is not None:
            self._edit("resize_class", self.current.view.label, diameter)

    def _remove_class(self) -> None:
        of = self.current
        if of is not None and of.points.classes:
            gone = of.points.classes[of.view.label - 1].name
            count = of.points.counts[gone]
            self._edit("remove_class", of.view.label)
            self._say(f"{gone} is gone with {several(count, 'point')}; Undo brings it back")

    def _toggle_complete(self) -> None:
        of = self.current
        if of is None:
            return
        if of.regions.drawing:
            self._place(True)
        else:
            if not of.in_place:
                self._renew(of)
            of.regions.start()
            self._say("Hold the button and go round a region in which every cell is marked")
        self._show_mode()

    def _region_drawn(self) -> None:
        self._say()
        self._place(True)

    def _hide(self) -> None:
        if self.current is not None:
            shown = self.current.toggle_overlays()
            self._say("" if shown else "Overlays are hidden; H brings them back")

    def _fly(self, by: int) -> None:
        of = self.current
        if of is None:
            return
        walk = of.walk
        stop = walk.step(by)
        if stop is None:
            self._say("No detections on this slide yet: the Detect cells dock finds them")
            return
        (y, x), score = stop
        slide = of.entry.slide
        now = camera.magnification(self._viewer, slide)
        if now is not None and now < LOOK_AT:
            camera.set_magnification(self._viewer, LOOK_AT)
        camera.go_to(self._viewer, slide, y / slide.shape[0], x / slide.shape[1])
        self._say(f"Detection {walk.at + 1:,} of {len(walk):,}, score {score:.2f}")  # type: ignore[operator]

    def _toggle_help(self) -> None:
        self.help.toggle()

    def _set_annotator(self) -> None:
        name = self.name.text().strip()
        if name != annotator():
            set_annotator(name)
        for of in self._open.values():
            of.points.annotator = name

    def _stop(self) -> None:
        """The dock is being taken apart: documents stay on disk, layers without one go."""
        self._follower.stop()
        self._heard.stop()
        self.current = None
        for of in self._open.values():
            self._let_go(of)
        self._open.clear()
