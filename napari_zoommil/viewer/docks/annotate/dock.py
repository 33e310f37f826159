"""The Annotate dock: mark cells by key and click."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut

from napari_zoommil.annotations import Changed, Points
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.viewer import keys
from napari_zoommil.viewer.docks.annotate.classes import ClassBox
from napari_zoommil.viewer.docks.annotate.importing import Importer, what_came
from napari_zoommil.viewer.docks.annotate.parts import FileBox, HelpSheet, MarkBox, acting, headline
from napari_zoommil.viewer.docks.annotate.slide_annotations import Actions, SlideAnnotations
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.parts import Sentence, heading, row
from napari_zoommil.viewer.follower import Follower
from napari_zoommil.viewer.layers.drawing import HOW
from napari_zoommil.viewer.notifications import show_info, show_warning
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import marked, several


class AnnotateDock(SessionDock):
    """Classes, placing, complete regions, uncertain detections, undo, and where it all is kept."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._documents = self._session.documents
        self._heard = Follower()
        self._of: dict[OpenSlide, SlideAnnotations] = {}
        self.current: SlideAnnotations | None = None
        self._draws = False
        self._actions: Actions = {
            "choose": self._choose,
            "remove": lambda _: self._remove(),
            "relabel": lambda _: self._relabel(),
            "next": lambda _: self._fly(1),
            "previous": lambda _: self._fly(-1),
            "hide": lambda _: self._hide(),
            "region": lambda _: self._toggle_drawing(False),
            "complete": lambda _: self._toggle_drawing(True),
            "select": lambda _: self._toggle_select(),
            "undo": lambda _: self._edit("undo"),
            "redo": lambda _: self._edit("redo"),
            "rename": lambda _: self.classes.rename(),
            "help": lambda _: self.help.toggle(),
        }
        self._build()
        self._follower.follow(self._session.document_changed, self._document_changed)
        self._follower.follow(self._documents.said, self._said)
        self._follower.follow(self._session.removed, self._slide_removed)
        self._follower.follow(self._viewer.layers.selection.events.active, self._show_mode)
        self._ending.append(self._rest)
        self._open()
        if self.current is not None:
            self._place(True)

    def _build(self) -> None:
        self.slide = Sentence(name="annotate-slide", lines=2)
        self.classes = ClassBox()
        self.classes.list.chosen.connect(self._choose)
        self.classes.edited.connect(lambda method, arguments: self._edit(method, *arguments))
        self.classes.said.connect(self._say)
        self.mark = MarkBox(self._actions)
        self.mark.placed.connect(self._place)
        hide = acting("Overlays", "Hide what lies over the slide, and bring it back", "hide", self._actions)
        previous = acting("◂", "The detection before", "previous", self._actions)
        following = acting("Next uncertain ▸", "The next most uncertain detection", "next", self._actions)
        self._looking = (previous, following, hide)
        self.note = Sentence(name="annotate-note", lines=2)
        self.file = FileBox(self._documents.annotator, self._actions)
        self.file.signed.connect(self._documents.sign)
        self.file.chosen.connect(self._take_in)
        self.file.asked.connect(self._give)
        self._importer = Importer(self._runner, self._taken_in, self._say)
        self.help = HelpSheet(self)
        self._sign = QShortcut(QKeySequence(keys.HELP_SIGN), self)
        self._sign.activated.connect(self.help.toggle)
        self._lay_out(
            self.slide,
            heading("Classes"),
            self.classes,
            heading("Mark"),
            self.mark,
            heading("Look"),
            row(*self._looking, stretch=1),
            self.note,
            heading("File"),
            self.file,
        )

    # Slides and their documents

    def _show(self, entry: OpenSlide | None) -> None:
        self._heard.stop()
        self.current = None
        self._say()
        if entry is not None:
            self._documents.open(entry)
            if entry.document is None:
                self._say(self._documents.problems.get(entry, "The annotations are being read"))
            else:
                self._annotate(entry)
        self._refresh()

    def _annotate(self, entry: OpenSlide) -> None:
        if entry not in self._of:
            self._of[entry] = SlideAnnotations(self._viewer, entry, self._actions)
        self._documents.show(entry)
        self._hear(of := self._of[entry])
        self.current = of
        self._catch_up()

    def _hear(self, of: SlideAnnotations) -> None:
        of.bind()
        for signal, callback in (
            (of.view.editing, self._say),
            (of.view.refused, self._complain),
            (of.regions.refused, self._complain),
            (of.regions.drawn, self._region_drawn),
            (of.regions.picked, self._picked),
            (of.view.layer.events.mode, self._show_mode),
            (of.regions.layer.events.mode, self._show_mode),
        ):
            self._heard.follow(signal, callback)

    def _mend(self, of: SlideAnnotations) -> None:
        """Make layers anew that somebody has removed."""
        if self._documents.mend(of.entry):
            self._show(of.entry)

    def _document_changed(self, entry: OpenSlide, _changed: Changed) -> None:
        if entry is self._entry and self.current is None:  # it has been read
            self._show(entry)
        elif entry is self._entry:
            self._refresh()

    def _said(self, entry: OpenSlide, text: str) -> None:
        """There is news of the file."""
        if entry is self._entry:
            self._refresh()
            self._say(text)

    def _slide_removed(self, entry: OpenSlide) -> None:
        if self.current is not None and self.current.entry is entry:
            self._heard.stop()
            self.current = None
        if (of := self._of.pop(entry, None)) is not None:
            of.unbind()

    # What is shown

    def _refresh(self) -> None:
        of = self.current
        classes = of.points.classes if of else ()
        if of is not None:
            of.view.label = max(1, min(of.view.label, len(classes)))
        self.slide.setText(headline(of) if of else "Open a slide first")
        self.classes.show_classes(classes, of.tallies if of else {}, of.view.label if of else 0)
        for widget in (self.classes.add, *self._looking):
            widget.setEnabled(of is not None)
        self.mark.show_undo(of)
        self.file.show_place(of)
        self._show_mode()

    def _show_mode(self, _event: object = None) -> None:
        of, active = self.current, self._viewer.layers.selection.active
        self.mark.show_mode(of, active)
        self._sign.setEnabled(of is not None and active in (of.entry.layer, *of.layers))

    def _say(self, text: str = "") -> None:
        self.note.setText(text)

    def _complain(self, error: Exception) -> None:
        self._say(str(error))
        show_warning(str(error))

    # What is done

    def _choose(self, label: int) -> None:
        of = self.current
        if of is None:
            return
        if label > len(of.points.classes):
            text = f"There is no class {label} yet: + Class adds one"
            show_info(text)  # whoever presses the key looks at the slide
            return self._say(text)
        of.view.label = label
        if of.regions.drawing and not of.regions.drawing_complete:
            of.regions.start(label)
        elif not self._is_selecting:  # the regions that are selected are to get the class
            self._place(True)
        self._refresh()

    def _place(self, on: bool) -> None:
        """Let clicks place points, or let them be clicks again."""
        of, self._draws = self.current, False
        if of is None:
            return
        self._mend(of)
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

    def _take_in(self, path: Path) -> None:
        """Add what another file holds; one step to undo."""
        if self.current is not None:
            self._importer.start(self.current.entry, path)

    def _taken_in(self, entry: OpenSlide, path: Path, other: Points) -> None:
        of = self._of.get(entry)
        if of is None:
            return
        before = set(of.points.features)
        of.view.edit(lambda: of.points.take_in(other))
        self._refresh()
        if of.saved.problem is None:
            new = [one for id, one in of.points.features.items() if id not in before]
            self._say(what_came(new, entry.slide, path.name))

    def _give(self, path: Path) -> None:
        """Write a copy for other programs."""
        if self.current is not None:
            try:
                self.current.points.write(path)
            except ZoomMILError as error:
                return self._complain(error)
            self._say(f"{marked(self.current.points)} written to {path.name}")

    def _remove(self) -> None:
        if ids := self._at_cursor():
            self._edit("remove_regions" if self._is_on_regions else "remove", ids)

    def _relabel(self) -> None:
        if self.current is not None and (ids := self._at_cursor()):
            edit = "set_region_class" if self._is_on_regions else "set_class"
            self._edit(edit, ids, self.current.view.label if self.current.points.classes else 0)

    @property
    def _is_on_regions(self) -> bool:
        """Whether the layer of regions is the active one."""
        of = self.current
        return of is not None and self._viewer.layers.selection.active is of.regions.layer

    @property
    def _is_selecting(self) -> bool:
        """Whether a click selects a region."""
        return (
            self._is_on_regions and self.current is not None and self.current.regions.layer.mode == "select"
        )

    def _at_cursor(self) -> list[str]:
        of, on_regions = self.current, self._is_on_regions
        ids = (of.regions if on_regions else of.view).at_cursor if of else []
        if not ids:
            self._say(f"No {'region' if on_regions else 'point'} at the cursor, and none selected")
        return ids

    def _toggle_drawing(self, complete: bool) -> None:
        of = self.current
        if of is None:
            return
        if of.regions.drawing and of.regions.drawing_complete == complete:
            self._place(True)
        else:
            self._mend(of)
            label = of.view.label if of.points.classes else 0
            of.regions.start(0 if complete else label, complete)
            self._draws = True
            what = "in which every cell is marked" if complete else self._of_class(label)
            self._say(f"Draw a region {what}. {HOW}")
        self._show_mode()

    def _of_class(self, label: int) -> str:
        assert self.current is not None
        return f"of {self.current.points.classes[label - 1].name}" if label else "without class"

    def _toggle_select(self) -> None:
        of = self.current
        if of is None:
            return
        if self._is_selecting:
            return self._place(True)
        self._mend(of)
        if of.regions.drawing:
            of.regions.stop()
        of.regions.layer.visible = True
        self._viewer.layers.selection.active = of.regions.layer
        of.regions.layer.mode = "select"
        self._say("Click inside a region; drag its outline to move it")
        self._show_mode()

    def _picked(self) -> None:
        """Say which regions have been selected."""
        of = self.current
        chosen = [of.points.regions[id] for id in of.regions.selected] if of else []
        if of is None or not chosen:
            return self._say()
        names = ", ".join(dict.fromkeys(one.class_name or "no class" for one in chosen))
        mpp = of.entry.slide.mpp
        area = f", {sum(one.area_px for one in chosen) * mpp[0] * mpp[1] / 1e6:.3g} mm²" if mpp else ""
        self._say(f"{several(len(chosen), 'region')} selected: {names}{area}")

    def _region_drawn(self) -> None:
        self._say()
        if self._draws:  # else another dock asked for it, and goes back to where it was
            self._place(True)

    def _hide(self) -> None:
        if self.current is not None:
            shown = self.current.toggle_overlays()
            self._say("" if shown else "Overlays are hidden; H brings them back")

    def _fly(self, by: int) -> None:
        if self.current is not None:
            self._say(self.current.fly(by))

    def _rest(self) -> None:
        """The dock is being taken apart: what is annotated stays on disk and in sight."""
        self._heard.stop()
        self.current = None
        for entry, of in self._of.items():
            of.unbind()
            self._documents.rest(entry)
        self._of.clear()
