"""What was found: from which score on it counts, how much there is of each class, and the way out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, QSize, Qt
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QSlider,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_zoommil.files import GEOJSON
from napari_zoommil.jobs import Progress
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.detection_files import CellFiles, in_the_way
from napari_zoommil.viewer.docks.annotate.classes import swatch
from napari_zoommil.viewer.docks.familiarity_note import FamiliarityNote
from napari_zoommil.viewer.docks.parts import Sentence, fit_columns, heading, row
from napari_zoommil.viewer.docks.results import ResultChoice
from napari_zoommil.viewer.docks.saving import ask_where
from napari_zoommil.viewer.notifications import show_info
from napari_zoommil.viewer.open_slide import OpenSlide

SWATCH, NAME, COUNT, DENSITY = range(4)
WIDTHS = {SWATCH: 30, COUNT: 72, DENSITY: 72}
MOST_ROWS = 9
ROW_PX = 24
SCORE_PX = 96
STEPS = 100
EXPORT = "Export…"
SCORE_HELP = (
    "Score ({:g} to 1) from which a find counts; nothing is searched anew. "
    "Lower shows more cells and more mistakes"
)
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class CountTable(QTreeWidget):
    """Cells of each class, and by area."""

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(["", "Class", "Cells", "per mm²"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setIconSize(QSize(16, 16))
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSelectionMode(QTreeWidget.SelectionMode.NoSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header, head = self.header(), self.headerItem()
        assert header is not None and head is not None
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(24)
        header.setSectionsMovable(False)
        fit_columns(self, WIDTHS)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column in (COUNT, DENSITY):
            head.setTextAlignment(column, RIGHT)
        self.setToolTip("Cells that count at this score, and how many per mm² of tissue that was searched")

    def show_counts(self, detection: Detection, threshold: float) -> None:
        """Fill it; with several classes the last line is all of them."""
        counts, densities = detection.counts(threshold), detection.per_mm2(threshold)
        self.clear()
        for one in detection.classes:
            item = self._add(one.name, counts[one.name], densities[one.name])
            item.setIcon(SWATCH, swatch(one.colour))
        if len(counts) > 1:
            known = [density for density in densities.values() if density is not None]
            self._add("all", sum(counts.values()), sum(known) if known else None)
        fit_columns(self, WIDTHS)
        rows, header = min(self.topLevelItemCount(), MOST_ROWS), self.header()
        assert header is not None
        self.setFixedHeight(rows * ROW_PX + header.sizeHint().height() + 2 * self.frameWidth())

    def _add(self, name: str, count: int, density: float | None) -> QTreeWidgetItem:
        item = QTreeWidgetItem(["", name, f"{count:,}", density_text(density)])
        item.setSizeHint(SWATCH, QSize(0, ROW_PX))
        for column in (COUNT, DENSITY):
            item.setTextAlignment(column, RIGHT)
        item.setToolTip(NAME, name)
        self.addTopLevelItem(item)
        return item


class DetectionPanel(QWidget):
    """The detection of the active slide: score, counts, export.

    Parameters
    ----------
    results : ResultChoice
        Detections to go back to.
    moved : callable
        Called with the score from which cells count, whenever the user changes it.
    export : callable
        Called with the file to write to.
    stop : callable
        Called to cancel the export.
    """

    def __init__(
        self,
        results: ResultChoice,
        moved: Callable[[float], None],
        export: Callable[[Path], None],
        stop: Callable[[], None],
    ) -> None:
        super().__init__()
        self._moved, self._export_to, self._stop = moved, export, stop
        self._exporting = False
        self._entry: OpenSlide | None = None
        self.source = Sentence(name="detection-source")
        self.familiarity = FamiliarityNote()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.score = QDoubleSpinBox()
        self.score.setSingleStep(1 / STEPS)
        self.score.setDecimals(2)
        self.score.setFixedWidth(SCORE_PX)
        self.score.setKeyboardTracking(False)
        self.slider.valueChanged.connect(lambda value: self._set(value / STEPS))
        self.score.valueChanged.connect(self._set)
        self.table = CountTable()
        self.export = QPushButton(EXPORT)
        self.export.setToolTip(
            "Write the cells that count as GeoJSON, which QuPath opens as detections, and beside it two "
            "tables (CSV): the cells with their places in µm and px, and counts and densities"
        )
        self.export.clicked.connect(lambda: self._stop() if self._exporting else self._ask_where())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        for part in (
            heading("Result"),
            results,
            self.source,
            self.familiarity,
            row(QLabel("Score ≥"), self.slider, self.score, stretch=1),
            self.table,
            self.export,
        ):
            column.addWidget(part)

    def show_slide(self, entry: OpenSlide | None) -> None:
        """Show what was found on a slide, if anything was looked for."""
        self._entry = entry
        self.setVisible(entry is not None and entry.detection is not None)
        if entry is not None and entry.detection is not None:
            found = entry.detection
            self.source.setText(
                f"{Path(found.model).name} on {entry.slide.name}. Cells per mm² of {found.extent}"
            )
            self.familiarity.show_verdict(found.familiarity)
            self._show(found, entry.threshold)

    def _show(self, detection: Detection, threshold: float) -> None:
        least = math.floor(round(detection.least * STEPS, 6))
        with QSignalBlocker(self.slider), QSignalBlocker(self.score):
            self.slider.setRange(least, STEPS)
            self.score.setRange(least / STEPS, 1.0)
            for widget in (self.slider, self.score):
                widget.setToolTip(SCORE_HELP.format(least / STEPS))
            self.slider.setValue(round(threshold * STEPS))
            self.score.setValue(threshold)
        self.table.show_counts(detection, threshold)

    def _set(self, threshold: float) -> None:
        if self._entry is None or self._entry.detection is None:
            return
        self._entry.threshold = threshold
        self._show(self._entry.detection, threshold)
        self._moved(threshold)

    def show_exporting(self, progress: Progress | None) -> None:
        """How far an export is, with the button to cancel it; None at its end."""
        self._exporting = progress is not None
        share = progress.done / max(progress.total, 1) if progress else 0.0
        self.export.setText(f"Cancel export ({share:.0%})" if progress else EXPORT)

    def _ask_where(self) -> None:
        if self._entry is None:
            return
        slide = self._entry.slide
        start = slide.path.with_name(f"{slide.stem}.cells.geojson")
        path = ask_where(self, "Export cells", start, "GeoJSON", GEOJSON, in_the_way)
        if path is not None:
            self._export_to(path)


def exported(files: CellFiles) -> None:
    """Tell that it is done."""
    names = f"{files.geojson.name}, {files.cells.name} and {files.counts.name}"
    show_info(f"Written: {names} in {files.geojson.absolute().parent}")


def cells_found(detection: Detection) -> str:
    """``1,234 cells``, by the model's threshold."""
    return f"{sum(detection.counts().values()):,} cells"


def area_text(mm2: float) -> str:
    """``0.31 mm²``, to three figures."""
    return f"{mm2:,.0f} mm²" if mm2 >= 100 else f"{mm2:.3g} mm²"


def density_text(value: float | None) -> str:
    """Cells per mm², to three figures where there are few."""
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
