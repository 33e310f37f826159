"""What was found: the map with its scale, and what it means."""

from __future__ import annotations

import napari
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QLabel, QSlider, QWidget

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.maps.overlay import Overlay
from napari_zoommil.maps.scales import Scaling, help_of, scalings_of
from napari_zoommil.viewer.docks.attention.maps import SCALINGS, STYLE_HELP, STYLES
from napari_zoommil.viewer.docks.parts import Sentence, row, stack
from napari_zoommil.viewer.layers.overlays import find_layer, overlay_title, remove_maps, show_overlay
from napari_zoommil.viewer.open_slide import OpenSlide


class ShownMap(QWidget):
    """Paints an explanation, and how: scale, style and opacity."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._entry: OpenSlide | None = None
        self.explanation: Explanation | None = None
        self._title = ""
        self._inside = False
        self._asked: Scaling | None = None
        self.scaling, self.style_of_maps = QComboBox(), QComboBox()
        for style, title in STYLES.items():
            self.style_of_maps.addItem(title, style)
        self.style_of_maps.setToolTip(STYLE_HELP)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(80)
        self.opacity.setToolTip("Opacity of the map, %")
        self.range = Sentence(name="explain-range")
        for box in (self.scaling, self.style_of_maps):
            box.setMinimumContentsLength(6)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.scaling.currentIndexChanged.connect(lambda _: self._choose_scaling())
        self.style_of_maps.currentIndexChanged.connect(lambda _: self.paint())
        self.opacity.valueChanged.connect(lambda _: self._fade())
        stack(
            self,
            self.range,
            row(QLabel("Scale"), self.scaling, self.style_of_maps),
            row(QLabel("Opacity"), self.opacity, stretch=1),
        )
        self.hide()

    def show_explanation(self, entry: OpenSlide | None, explanation: Explanation | None) -> None:
        """Paint an explanation of an output, or none."""
        self._entry, self.explanation = entry, explanation
        self.setVisible(explanation is not None)
        if explanation is None or entry is None:
            return
        if self._inside is not (explanation.focus.at is not None):  # pixels have no edges that matter
            self._inside = not self._inside
            with QSignalBlocker(self.style_of_maps):
                self.style_of_maps.setCurrentIndex(
                    self.style_of_maps.findData("smoothed" if self._inside else "filled")
                )
        maps, asked = explanation.shown, self._asked
        offered = scalings_of(maps[0].kind)
        with QSignalBlocker(self.scaling):
            self.scaling.clear()
            for one in offered:
                self.scaling.addItem(SCALINGS[one], one)
            self.scaling.setCurrentIndex(offered.index(asked) if asked in offered else 0)
        unit = explanation.prediction.task.output_unit
        self.scaling.setToolTip(
            "\n".join(f"{SCALINGS[one]}: {help_of(maps[0].kind, one, unit)}" for one in offered)
        )
        where = "all that was read"
        if explanation.focus.at is not None:
            height, width = maps[0].values.shape
            where = f"{height} × {width} places inside the patch"
        elif explanation.focus.window is not None:
            where = "the window as it was"
        self.range.setText(
            f"Of {where}, at {', '.join(magnification_name(one.magnification) for one in maps)}."
        )
        self.paint()

    def _choose_scaling(self) -> None:
        self._asked = self.scaling.currentData()
        self.paint()

    def paint(self) -> None:
        """Bring the layer to what is shown here."""
        if self.explanation is None or self._entry is None or not self._entry.alive:
            return
        unit = self.explanation.prediction.task.output_unit
        scaling, style = self.scaling.currentData(), self.style_of_maps.currentData()
        maps = self.explanation.shown
        shown = Overlay.of(maps, scaling, style, output_unit=unit)
        self._title = overlay_title(shown)
        show_overlay(self._viewer, self._entry.slide, shown)
        remove_maps(self._viewer, self._entry.slide, {self._title})
        self._fade()

    def _fade(self) -> None:
        layer = find_layer(self._viewer, self._entry.slide, self._title) if self._entry else None
        if layer is not None:
            layer.opacity = self.opacity.value() / 100
