"""Which maps are shown and how: method, output, scaling, magnifications, opacity."""

from __future__ import annotations

from collections.abc import Callable

import napari
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.prediction import PartialMap
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.maps.overlay import Overlay, Style, frames_of
from napari_zoommil.maps.scales import Scaling, help_of, scalings_of
from napari_zoommil.viewer.docks.parts import Sentence, row
from napari_zoommil.viewer.docks.plain_text import plain_tip
from napari_zoommil.viewer.layers.overlays import find_layer, overlay_title, remove_maps, show_overlay
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.sentences import (
    NO_MAPS,
    kind_help,
    kind_summary,
    kind_title,
    map_kinds,
    map_targets,
)

SCALINGS: dict[Scaling, str] = {"times": "× average", "rank": "Percentile", "raw": "Raw"}
FRAMES = "Frames"
FRAMES_HELP = "Show frames round the patches that the model zoomed into"
STYLES: dict[Style, str] = {"filled": "Filled", "outlines": "Outlines", "smoothed": "Smoothed"}
STYLE_HELP = (
    "Filled: each patch in its colour\n"
    "Outlines: edges of patches in their colours, the tissue free inside\n"
    "Smoothed: between the middles of patches, values are interpolated"
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
        self._title = ""
        self._asked: Scaling | None = None
        self._partial: dict[int, HeatMap] = {}
        self.what = QComboBox()
        self.what.setToolTip("Where the model looks, or a method that explains it")
        self.what.setMinimumContentsLength(14)
        self.what.currentIndexChanged.connect(self._choose)
        self.output = QComboBox()
        self.output.setToolTip("Output of the model that is explained")
        self.output.currentIndexChanged.connect(self.refresh)
        self._of = row(QLabel("For"), self.output, stretch=1)
        self.about = Sentence(name="about-maps")
        self.scaling = QComboBox()
        self.scaling.currentIndexChanged.connect(self._choose_scaling)
        self.style_of_maps = QComboBox()
        for style, title in STYLES.items():
            self.style_of_maps.addItem(title, style)
        self.style_of_maps.setToolTip(STYLE_HELP)
        for box in (self.scaling, self.style_of_maps):
            box.setMinimumContentsLength(4)
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.style_of_maps.currentIndexChanged.connect(self.refresh)
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
        controls.addWidget(row(QLabel("Show"), self.what, stretch=1))
        controls.addWidget(self._of)
        controls.addWidget(self.about)
        controls.addWidget(row(QLabel("Scale"), self.scaling, self.style_of_maps))
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
                self.what.setItemData(
                    self.what.count() - 1, plain_tip(kind_help(kind)), Qt.ItemDataRole.ToolTipRole
                )
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
        self._of.setVisible(len(names) > 1)
        self._offer_scalings()
        self.about.setText(kind_summary(self.kind) if self.kind else NO_MAPS)
        self.about.setToolTip(kind_help(self.kind))
        self.refresh()

    def _offer_scalings(self) -> None:
        """The one that was asked for, if the kind has it, else its own."""
        assert self._entry is not None and self._entry.prediction is not None
        kind, asked = self.kind, self._asked
        unit = self._entry.prediction.task.output_unit
        offered = scalings_of(kind) if kind else ()
        with QSignalBlocker(self.scaling):
            self.scaling.clear()
            for scaling in offered:
                self.scaling.addItem(SCALINGS[scaling], scaling)
            self.scaling.setCurrentIndex(offered.index(asked) if asked in offered else 0)
        lines = (f"{SCALINGS[scaling]}: {help_of(kind, scaling, unit)}" for scaling in offered)
        self.scaling.setToolTip("\n".join(lines))

    def _choose_scaling(self) -> None:
        self._asked = self.scaling.currentData()
        self.refresh()

    def _make_toggles(self, magnifications: list[float]) -> None:
        names = [*map(magnification_name, magnifications), FRAMES]
        if list(self.toggles) == names:
            return
        layout = self._toggles.layout()
        assert layout is not None
        for box in self.toggles.values():
            box.hide()  # while a dialog is open nothing is deleted
            box.deleteLater()
        self.toggles = {name: QCheckBox(name) for name in names}
        for name, box in self.toggles.items():
            box.setChecked(True)
            box.setToolTip(FRAMES_HELP if name == FRAMES else f"Show the map of {name}")
            box.toggled.connect(self.refresh)
            layout.addWidget(box)

    def show_partial(self, entry: OpenSlide, partial: PartialMap) -> None:
        """Paint a map that is still filling over those of lower magnifications."""
        self._partial = {level: one for level, one in self._partial.items() if level < partial.level}
        self._partial[partial.level] = partial.map
        offered = scalings_of(partial.map.kind)
        scaling = self._asked if self._asked in offered else offered[0]
        maps, style = list(self._partial.values()), self.style_of_maps.currentData()
        shown = Overlay.of(maps, scaling, style, output_unit=partial.output_unit)
        show_overlay(self._viewer, entry.slide, shown)

    @property
    def kind(self) -> str:
        """Head or method that is chosen; empty if there is none."""
        return self.what.currentData() or ""

    @property
    def target(self) -> str | None:
        """Output whose maps are chosen, or None."""
        return self.output.currentText() or None

    @property
    def overlay(self) -> Overlay | None:
        """What the controls ask for; None if there are no maps of it."""
        if self._entry is None or self._entry.prediction is None:
            return None
        prediction = self._entry.prediction
        maps = (self._entry.explanation(self.kind) or prediction).maps_of(self.kind, self.target)
        if not maps:
            return None
        zoomed = ((step.level, step.zoomed) for step in prediction.steps)
        frames = frames_of(prediction.grid, zoomed) if self._wanted(FRAMES) else ()
        scaling, style = self.scaling.currentData(), self.style_of_maps.currentData()
        whole = Overlay.of(maps, scaling, style, frames, prediction.task.output_unit)
        return whole.only(lambda magnification: self._wanted(magnification_name(magnification)))

    def _wanted(self, name: str) -> bool:
        return name not in self.toggles or self.toggles[name].isChecked()

    def refresh(self) -> None:
        """Bring the layer to what the controls say."""
        entry = self._entry
        if entry is None or entry.prediction is None:
            return
        if self.kind in METHODS and METHODS[self.kind].computed and entry.explanation(self.kind) is None:
            return self._compute(self.kind)
        shown = self.overlay
        self._title = overlay_title(shown) if shown else ""
        if shown is not None:
            show_overlay(self._viewer, entry.slide, shown)
        remove_maps(self._viewer, entry.slide, {self._title})
        self._painted = self.kind
        self._set_opacity()
        self.painted.emit()

    def revert(self) -> None:
        """What was chosen cannot be had: choose again what is painted."""
        if self._painted is not None:
            self.what.setCurrentIndex(self.what.findData(self._painted))

    def _set_opacity(self) -> None:
        layer = find_layer(self._viewer, self._entry.slide, self._title) if self._entry else None
        if layer is not None:
            layer.opacity = self.opacity.value() / 100
