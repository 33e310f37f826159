"""Which maps are shown and how: an attention or Grad-CAM, scaling, magnifications, opacity."""

from __future__ import annotations

from typing import cast

import napari
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.maps import HeatMap, display_values
from napari_zoommil.maps.heatmap import Scaling
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.layers.overlays import ZOOMED, find_layer, remove_maps, show_map, show_zoomed
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import NO_MAPS, kind_title

SCALINGS: dict[str, Scaling] = {"Percentile": "percentile", "Min–max": "min-max", "Raw": "raw"}
SCALING_HELP = (
    "Percentile: rank among the patches of a magnification\n"
    "Min–max: each magnification stretched by itself\n"
    "Raw: one scale over all magnifications"
)
WHAT_HELP = (
    "Attention: what the model gathers its answer from\n"
    "Zoom attention: what it zooms into\n"
    "Grad-CAM: which patches speak for a class"
)


class MapsPanel(QWidget):
    """Controls of the overlays of one slide, and the overlays themselves."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._entry: OpenSlide | None = None
        self.what = QComboBox()
        self.what.setToolTip(WHAT_HELP)
        self.what.currentIndexChanged.connect(self.refresh)
        self.scaling = QComboBox()
        self.scaling.addItems(list(SCALINGS))
        self.scaling.setToolTip(SCALING_HELP)
        self.scaling.currentIndexChanged.connect(self.refresh)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(100)
        self.opacity.setToolTip("Opacity of the maps, %")
        self.opacity.valueChanged.connect(self._set_opacity)
        self._toggles = QWidget()
        QHBoxLayout(self._toggles).setContentsMargins(0, 0, 0, 0)
        self.toggles: dict[str, QCheckBox] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.lack = Sentence(NO_MAPS, name="no-maps")
        self._controls = QWidget()
        controls = QVBoxLayout(self._controls)
        controls.setContentsMargins(0, 0, 0, 0)
        controls.addWidget(row(QLabel("Show"), self.what, self.scaling, stretch=1))
        controls.addWidget(self._toggles)
        controls.addWidget(row(QLabel("Opacity"), self.opacity, stretch=1))
        column.addWidget(self.lack)
        column.addWidget(self._controls)

    def set_slide(self, entry: OpenSlide | None) -> None:
        """Show the results of a slide, if it has any."""
        self._entry = entry
        prediction = entry.prediction if entry else None
        self.setVisible(prediction is not None)
        self.setEnabled(True)
        self.what.blockSignals(True)
        self.what.clear()
        if prediction is not None:
            for kind, target in prediction.kinds:
                self.what.addItem(kind_title(kind, target), (kind, target))
            self._make_toggles(sorted({one.magnification for one in prediction.maps}))
            self.lack.setVisible(not prediction.maps)
            self._controls.setVisible(bool(prediction.maps))
        self.what.blockSignals(False)
        if prediction is not None:
            self.refresh()

    def _make_toggles(self, magnifications: list[float]) -> None:
        names = [magnification_name(value) for value in magnifications]
        if list(self.toggles) == names:
            return
        layout = self._toggles.layout()
        assert layout is not None
        for box in self.toggles.values():
            box.deleteLater()
        self.toggles = {name: QCheckBox(name) for name in names}
        for name, box in self.toggles.items():
            box.setChecked(True)
            box.setToolTip(f"Show the map of {name}")
            box.toggled.connect(self._set_visible)
            layout.addWidget(box)

    def show_partial(self, entry: OpenSlide, partial: PartialMap) -> None:
        """Paint a map that is still filling."""
        values = display_values([partial.map], "percentile")[0]
        show_map(self._viewer, entry.slide, partial.map, values)

    def prepare(self) -> None:
        """A prediction begins, and paints attention: what an earlier one has painted stays until then."""
        self.what.setCurrentIndex(0)
        self.setEnabled(False)

    @property
    def target(self) -> str | None:
        """Class whose Grad-CAM is shown, or None."""
        chosen = self.what.currentData()
        return chosen[1] if chosen and chosen[0] == "grad-cam" else None

    def _shown(self) -> tuple[HeatMap, ...]:
        prediction = self._entry.prediction if self._entry else None
        chosen = self.what.currentData()
        if prediction is None or chosen is None:
            return ()
        kind, target = cast("tuple[str, str | None]", chosen)
        return prediction.maps_of(kind, target)

    def refresh(self) -> None:
        """Bring the layers to what the controls say."""
        if self._entry is None or self._entry.prediction is None:
            return
        shown, slide = self._shown(), self._entry.slide
        for each, values in zip(
            shown, display_values(shown, SCALINGS[self.scaling.currentText()]), strict=True
        ):
            show_map(self._viewer, slide, each, values)
        show_zoomed(self._viewer, slide, self._entry.prediction)
        remove_maps(self._viewer, slide, {ZOOMED, *(each.title for each in shown)})
        self._set_visible()
        self._set_opacity()

    def _set_visible(self) -> None:
        for each in self._shown():
            layer, wanted = (
                self._layer(each),
                self.toggles[magnification_name(each.magnification)].isChecked(),
            )
            if layer is None and wanted:
                return self.refresh()  # it was removed by hand
            if layer is not None:
                layer.visible = wanted

    def _set_opacity(self) -> None:
        for each in self._shown():
            layer = self._layer(each)
            if layer is not None:
                layer.opacity = self.opacity.value() / 100

    def _layer(self, shown: HeatMap) -> napari.layers.Layer | None:
        assert self._entry is not None
        return find_layer(self._viewer, self._entry.slide, shown.title)
