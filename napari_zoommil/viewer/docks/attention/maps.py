"""Which maps are shown and how: method, output, scaling, magnifications, opacity."""

from __future__ import annotations

from collections.abc import Callable

import napari
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.maps import HeatMap, display_values
from napari_zoommil.maps.heatmap import Scaling
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.layers.overlays import ZOOMED, find_layer, remove_maps, show_map, show_zoomed
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import (
    NO_MAPS,
    kind_help,
    kind_summary,
    kind_title,
    map_kinds,
    map_targets,
)

SCALINGS: dict[str, Scaling] = {"Percentile": "percentile", "Min–max": "min-max", "Raw": "raw"}
SCALING_HELP = (
    "Percentile: rank among the patches of a magnification\n"
    "Min–max: each magnification stretched by itself\n"
    "Raw: one scale over all magnifications"
)


class MapsPanel(QWidget):
    """Controls of the overlays of one slide, and the overlays themselves.

    Parameters
    ----------
    viewer : napari.Viewer
    compute : callable
        ``compute(method)`` is called where maps are asked for that are not there yet; what was shown before
        stays until they are.
    """

    painted = Signal()
    """The layers are what the controls say."""

    def __init__(self, viewer: napari.Viewer, compute: Callable[[str], None]) -> None:
        super().__init__()
        self._viewer, self._compute = viewer, compute
        self._entry: OpenSlide | None = None
        self._painted: str | None = None
        self.what = QComboBox()
        self.what.setToolTip("Where the model looks, or a method that explains it")
        self.what.setMinimumContentsLength(14)
        self.what.currentIndexChanged.connect(self._choose)
        self.output = QComboBox()
        self.output.setToolTip("Output of the model that is explained")
        self.output.currentIndexChanged.connect(self.refresh)
        self.about = Sentence(name="about-maps")
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
        self._controls = QWidget()
        controls = QVBoxLayout(self._controls)
        controls.setContentsMargins(0, 0, 0, 0)
        controls.addWidget(row(QLabel("Show"), self.what, self.output, stretch=1))
        controls.addWidget(self.about)
        controls.addWidget(row(QLabel("Scale"), self.scaling, stretch=1))
        controls.addWidget(self._toggles)
        controls.addWidget(row(QLabel("Opacity"), self.opacity, stretch=1))
        column.addWidget(self._controls)

    def set_slide(self, entry: OpenSlide | None) -> None:
        """Show the results of a slide, if it has any."""
        self._entry, self._painted = entry, None
        prediction = entry.prediction if entry else None
        self.setVisible(prediction is not None)
        if entry is None or prediction is None:
            return
        before = self.kind
        with QSignalBlocker(self.what):
            self.what.clear()
            for kind in map_kinds(prediction):
                self.what.addItem(kind_title(kind) if kind else "Nothing", kind)
                self.what.setItemData(self.what.count() - 1, kind_help(kind), Qt.ItemDataRole.ToolTipRole)
            if before not in METHODS or not METHODS[before].computed or entry.explanation(before):
                self.what.setCurrentIndex(max(0, self.what.findData(before)))
        self._make_toggles([level.magnification for level in prediction.grid.levels])
        self._choose()

    def _choose(self) -> None:
        """Another method was chosen: offer its outputs, and show it."""
        if self._entry is None or self._entry.prediction is None:
            return
        prediction, kept = self._entry.prediction, self.output.currentText()
        names = map_targets(prediction, self.kind) if self.kind else ()
        with QSignalBlocker(self.output):
            self.output.clear()
            self.output.addItems(list(names))
            self.output.setCurrentText(kept if kept in names else prediction.explained)
        self.output.setVisible(len(names) > 1)
        self.about.setText(kind_summary(self.kind) if self.kind else NO_MAPS)
        self.about.setToolTip(kind_help(self.kind))
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

    @property
    def kind(self) -> str:
        """Head or method that is chosen; empty if there is none."""
        return self.what.currentData() or ""

    @property
    def target(self) -> str | None:
        """Output whose maps are chosen, or None."""
        return self.output.currentText() or None

    def _shown(self) -> tuple[HeatMap, ...]:
        if self._entry is None or self._entry.prediction is None:
            return ()
        explanation = self._entry.explanation(self.kind)
        return (explanation or self._entry.prediction).maps_of(self.kind, self.target)

    def refresh(self) -> None:
        """Bring the layers to what the controls say."""
        entry = self._entry
        if entry is None or entry.prediction is None:
            return
        if self.kind in METHODS and METHODS[self.kind].computed and entry.explanation(self.kind) is None:
            return self._compute(self.kind)
        shown, slide = self._shown(), entry.slide
        for each, values in zip(
            shown, display_values(shown, SCALINGS[self.scaling.currentText()]), strict=True
        ):
            show_map(self._viewer, slide, each, values)
        show_zoomed(self._viewer, slide, entry.prediction)
        remove_maps(self._viewer, slide, {ZOOMED, *(each.title for each in shown)})
        self._painted = self.kind
        self._set_visible()
        self._set_opacity()
        self.painted.emit()

    def revert(self) -> None:
        """What was chosen cannot be had: choose again what is painted."""
        if self._painted is not None:
            self.what.setCurrentIndex(self.what.findData(self._painted))

    def _set_visible(self) -> None:
        for each in self._shown():
            box = self.toggles.get(magnification_name(each.magnification))
            layer, wanted = self._layer(each), box is None or box.isChecked()
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
