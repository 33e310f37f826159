"""The Slide dock: where one is on the slide, and what slide it is."""

from __future__ import annotations

from contextlib import suppress

import napari
from napari.settings import get_settings
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QPushButton

from napari_zoommil.geometry import Pair, mpp_text
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.base import PLAUSIBLE_MPP
from napari_zoommil.slides.readers.tiles import damage_note
from napari_zoommil.viewer import camera
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.parts import Sentence, heading, row
from napari_zoommil.viewer.docks.slide.associated import AssociatedWindow, named
from napari_zoommil.viewer.docks.slide.overview import OverviewMap
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import marked

BUTTON_PX = 34
MAGNIFICATIONS = (1.25, 2.5, 5, 10, 20, 40)


class SlideDock(SessionDock):
    """Overview map, magnification and facts of the active slide."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._images: AssociatedWindow | None = None
        self._build()
        self._ending.append(lambda: self._show_associated(False))
        camera_events = self._viewer.scene.camera.events
        for event in (camera_events.zoom, camera_events.center):
            self._follower.follow(event, self._moved)
        self._follower.follow(self._session.document_changed, lambda *_: self._moved())
        self._viewer.canvas.overlays.scale_bar.visible = True
        self._open()

    def _build(self) -> None:
        self.map = OverviewMap(self._go)
        self.magnification = QLabel("–")
        self.magnification.setStyleSheet("font-size: 13pt; font-weight: 600;")
        self.magnification.setToolTip("Magnification on screen: 10x is 1 µm per screen pixel")
        self.buttons = {value: self._magnification_button(value) for value in MAGNIFICATIONS}
        self.name = Sentence(name="slide-name")
        self.name.setStyleSheet("font-weight: 600;")
        self.facts = Sentence(name="slide-facts")
        self.mpp = _side("Edge of a level-0 pixel in µm: about 0.25 for a 40x scan, 0.5 for 20x")
        self.mpp_y = _side("Height of a level-0 pixel in µm")
        self.apply = QPushButton("Set")
        self.apply.setToolTip("Use this pixel size; the slide's maps are made anew")
        self.apply.clicked.connect(self._set_mpp)
        self.mpp_row = row(self.mpp, self.mpp_y, self.apply, stretch=0)
        self.mpp_why = Sentence()
        self.associated = QPushButton()
        self.associated.setCheckable(True)
        self.associated.setToolTip(
            "In a window of their own. They can show a patient's name, so they are never shown or stored "
            "unasked"
        )
        self.associated.toggled.connect(self._show_associated)
        self.smooth = QCheckBox("Smooth panning")
        self.smooth.setToolTip(
            "Load pixels in the background (napari's asynchronous slicing, for all layers)"
        )
        self.smooth.setChecked(get_settings().experimental.async_)
        self.smooth.toggled.connect(lambda on: setattr(get_settings().experimental, "async_", on))
        self.colours = QCheckBox("Colours by profile")
        self.colours.setToolTip(
            "Convert pixels to sRGB by the slide's ICC profile; models see the converted pixels too, "
            "and the slide's maps are made anew"
        )
        self.colours.toggled.connect(self._manage_colours)
        self._lay_out(
            self.map,
            self.mpp_why,
            self.mpp_row,
            row(self.magnification, 1, *self.buttons.values()),
            heading("Slide"),
            self.name,
            self.facts,
            self.associated,
            row(self.colours, self.smooth, 1),
        )

    def _magnification_button(self, value: float) -> QPushButton:
        button = QPushButton(f"{value:g}")
        button.setFixedWidth(BUTTON_PX)
        button.setStyleSheet("padding: 3px 0px;")
        button.setToolTip(f"Zoom to {value:g}x ({10 / value:g} µm per screen pixel)")
        button.clicked.connect(lambda: camera.set_magnification(self._viewer, value))
        return button

    def _show(self, entry: OpenSlide | None) -> None:
        known = entry is not None and entry.slide.mpp is not None
        for button in self.buttons.values():
            button.setEnabled(known)
        asked = entry is not None and entry.slide.stated_mpp is None
        self.mpp_why.setVisible(asked)
        self.mpp_why.setText(pixel_size_text(entry.slide) if entry is not None else "")
        self.mpp_row.setVisible(asked)
        self._show_mpp(entry.slide.mpp if entry is not None else None)
        with QSignalBlocker(self.colours):
            self.colours.setChecked(entry is not None and entry.slide.colour_managed)
        self.colours.setVisible(entry is not None and entry.slide.icc is not None)
        self.associated.setChecked(False)  # of another slide
        images = named(entry.slide) if entry is not None else []
        self.associated.setText(f"Show {', '.join(images)}")
        self.associated.setVisible(bool(images))
        if entry is None:
            self.name.setText("Open a slide: drag it here, or File › Open Sample › ZoomMIL")
            self.facts.setText("")
            self.map.set_image(None)
        else:
            self.name.setText(entry.slide.name)
            self.facts.setText(facts(entry))
            self.map.set_image(entry.overview)
        self._moved()

    def _moved(self, _event: object = None) -> None:
        entry = self._entry
        if entry is None:
            self.magnification.setText("–")
            return
        told = facts(entry)
        if told != self.facts.text():  # damage is found where one looks
            self.facts.setText(told)
        value = camera.magnification(self._viewer, entry.slide)
        self.magnification.setText("? x" if value is None else f"{value:.3g}x")
        self.map.set_field(camera.field_of_view(self._viewer, entry.slide))

    def _go(self, y: float, x: float) -> None:
        if self._entry is not None:
            camera.go_to(self._viewer, self._entry.slide, y, x)

    def _set_mpp(self) -> None:
        entry, width = self._entry, self.mpp.value()
        height = width if self.mpp_y.isHidden() else self.mpp_y.value()
        if entry is not None and width > 0 and height > 0:
            self._session.set_mpp(entry, (height, width))

    def _show_mpp(self, mpp: Pair | None) -> None:
        """One number for square pixels, else width and height."""
        height, width = mpp or (0.0, 0.0)
        self.mpp_y.setVisible(height != width)
        self.mpp.setPrefix("" if height == width else "width ")
        self.mpp_y.setPrefix("height ")
        self.mpp.setValue(width)
        self.mpp_y.setValue(height)

    def _manage_colours(self, on: bool) -> None:
        if self._entry is not None:
            self._session.manage_colours(self._entry, on)

    def _show_associated(self, on: bool) -> None:
        if self._images is not None:
            images, self._images = self._images, None
            with suppress(RuntimeError):  # deleted with the main window
                images.close()
        if on and self._entry is not None:
            self._images = AssociatedWindow(self, self._entry.slide, self._associated_closed)
            self._images.show()

    def _associated_closed(self) -> None:
        self._images = None
        with QSignalBlocker(self.associated):
            self.associated.setChecked(False)


def _side(help_text: str) -> QDoubleSpinBox:
    side = QDoubleSpinBox()
    side.setRange(0.0, PLAUSIBLE_MPP[1])
    side.setDecimals(4)
    side.setSingleStep(0.05)
    side.setSuffix(" µm/px")
    side.setSpecialValueText("pixel size?")
    side.setToolTip(help_text)
    return side


def pixel_size_text(slide: Slide) -> str:
    """What is known of a pixel size that the slide does not state."""
    if slide.mpp_set is not None:
        return f"Pixel size {slide.mpp_set.origin}; the slide does not state it"
    if slide.mpp is not None:
        return "Pixel size as given; the slide does not state it"
    return "This slide does not state its pixel size. Models need it; it is remembered:"


def facts(entry: OpenSlide) -> str:
    """Size, origin and resolution of a slide in two lines; one more where it is damaged."""
    slide = entry.slide
    height, width = slide.shape
    levels = "1 level" if len(slide.levels) == 1 else f"{len(slide.levels)} levels"
    if slide.mpp is not None:
        extent = f"{width * slide.mpp[1] / 1000:.1f} × {height * slide.mpp[0] / 1000:.1f} mm"
        scale = f"{extent} · {mpp_text(slide.mpp)} ({slide.magnification:.4g}x)"
    else:
        scale = "resolution unknown" + (
            f" · objective {slide.magnification:g}x" if slide.magnification else ""
        )
    hurt = f"\n⚠ {damage_note(slide.damaged)}" if slide.damaged else ""
    points = entry.document.points if entry.document else None
    notes = f"\nAnnotated: {marked(points)}" if points and (len(points) or points.regions) else ""
    return f"{width:,} × {height:,} px · {levels} · {slide.vendor}\n{scale}{notes}{hurt}"
