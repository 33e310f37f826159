"""The Attention dock: run a MIL model on the slide and watch where it looks."""

from __future__ import annotations

from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QInputDialog, QPushButton

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import Estimate, Progress, estimate, predict
from napari_zoommil.jobs.prediction import PartialMap, Prediction
from napari_zoommil.models.folder import SHIPPED, read_spec
from napari_zoommil.viewer import regions
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.bars import ProbabilityBars
from napari_zoommil.viewer.docks.maps import MapsPanel
from napari_zoommil.viewer.docks.parts import Act, Follower, Page, Sentence, heading, row
from napari_zoommil.viewer.overlays import TISSUE, find_layer, show_tissue
from napari_zoommil.viewer.readout import patch_readout
from napari_zoommil.viewer.session import OpenSlide, session_of
from napari_zoommil.viewer.settings import compute_settings
from napari_zoommil.viewer.slide_layer import per_pixel
from napari_zoommil.viewer.worker import JobRunner, spare_cores

FOLDER, HUB = "Folder…", "Hub name…"


class AttentionDock(Page):
    """Model, tissue, cost; Run and Cancel; probabilities, maps and scores."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(closed=self._stop)
        self._viewer = viewer = real_viewer(napari_viewer)
        self._session = session_of(viewer)
        self._follower = Follower()
        self._entry: OpenSlide | None = None
        self._estimate: Estimate | None = None
        self._pinned = self._run_at_once = False
        self._run_entry: OpenSlide | None = None
        self._estimating = JobRunner(viewer, self._estimate_progress, self._estimated, self._estimate_ended)
        self._predicting = JobRunner(viewer, self._progress, self._predicted, self._ended)
        self._build()
        self._follower.follow(self._session.activated, self._show)
        self._follower.follow(self._session.changed, self._show)
        self._follower.follow(self._session.removed, self._removed)
        viewer.mouse_move_callbacks.append(self._hovered)
        viewer.mouse_drag_callbacks.append(self._clicked)
        self._show(self._session.active)

    def _build(self) -> None:
        self.model = QComboBox()
        self.model.setToolTip("A shipped model, a model folder, or a model on the hub")
        for name in SHIPPED:
            self.model.addItem(model_title(name), name)
        self.model.addItems([FOLDER, HUB])
        self.model.activated.connect(self._model_chosen)
        self.slide = Sentence(name="attention-slide")
        self.tissue = QCheckBox("Show tissue")
        self.tissue.setToolTip("What the model will read: tissue found by itself, with your regions applied")
        self.tissue.setChecked(True)
        self.tissue.toggled.connect(self._show_tissue)
        self.add = QPushButton("Add region")
        self.add.setToolTip("Draw a region that is tissue though it was not found")
        self.add.clicked.connect(lambda: self._draw("add"))
        self.leave = QPushButton("Leave out")
        self.leave.setToolTip("Draw a region that the model must not read")
        self.leave.clicked.connect(lambda: self._draw("leave out"))
        self.cost = Sentence(name="cost")
        self.device = Sentence(name="device")
        self.act = Act("Run", self._run, self._predicting.cancel)
        self.bars = ProbabilityBars()
        self.maps = MapsPanel(self._viewer)
        self.readout = Sentence(name="readout")
        self.readout.setMinimumHeight(64)
        widgets = (
            heading("Model"),
            self.model,
            self.slide,
            heading("Tissue"),
            row(self.tissue, 1, self.add, self.leave),
            self.cost,
            self.device,
            self.act,
            heading("Result"),
            self.bars,
            self.maps,
            self.readout,
        )
        for widget in widgets:
            self.column.addWidget(widget)
        self.column.addStretch(1)

    @property
    def model_name(self) -> str:
        """What :func:`~napari_zoommil.models.folder.find_model` takes."""
        return str(self.model.currentData())

    def _model_chosen(self) -> None:
        text = self.model.currentText()
        if text == FOLDER:
            name = QFileDialog.getExistingDirectory(self, "Model folder")
        elif text == HUB:
            name, _ = QInputDialog.getText(self, "Model on the hub", "owner/name")
        else:
            return self._reconsider()
        self._add_model(name)

    def _add_model(self, name: str) -> None:
        try:
            title = model_title(name) if name else ""
        except ZoomMILError as error:
            title = ""
            napari.utils.notifications.show_error(str(error))
        if title:
            self.model.insertItem(0, title, name)
        self.model.setCurrentIndex(0)
        self._reconsider()

    def _show(self, entry: OpenSlide | None) -> None:
        if entry is not self._session.active:
            return
        changed = entry is not self._entry or (entry is not None and entry.detected is None)
        self._entry = entry
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.bars.show_prediction(entry.prediction if entry else None)
        self.maps.set_slide(entry)
        self._show_result_hint()
        if changed:
            self._reconsider()

    def _show_result_hint(self) -> None:
        has = self._entry is not None and self._entry.prediction is not None
        self.readout.setText(
            "Point at a patch to read its scores; click to keep them" if has else "Nothing yet"
        )

    def _reconsider(self) -> None:
        """Find out anew what a run would cost: another slide, model or region."""
        self._estimating.abandon()
        self._estimate = None
        entry = self._entry
        self.cost.setText("")
        self.device.setText("")
        self.add.setEnabled(entry is not None)
        self.leave.setEnabled(entry is not None)
        if entry is None:
            return self.act.set_ready(False, "Open a slide first")
        if entry.slide.mpp is None:
            self.cost.setText("The slide's resolution is unknown: set it in the Slide dock")
            return self.act.set_ready(False, "Set the pixel size in the Slide dock first")
        self.act.set_ready(False, "The tissue is being looked for")
        slide, model, detected = entry.slide, self.model_name, entry.detected
        device = compute_settings().device
        added, left_out = regions.polygons(self._viewer, slide)
        self._estimating.start(
            lambda: estimate(
                slide,
                model,
                detected=detected,
                add=added,
                leave_out=left_out,
                device=device,
                threads=spare_cores(),
                workers=spare_cores(),
            ),
            f"ZoomMIL is looking for tissue on {slide.name}",
        )

    def _estimate_progress(self, progress: Progress) -> None:
        self.cost.setText(f"{progress.note} …")

    def _estimated(self, found: Estimate) -> None:
        entry = self._entry
        if entry is None:
            return
        self._estimate = found
        entry.detected, entry.tissue = found.detected, found.tissue
        self.cost.setText(cost_sentence(found))
        self.device.setText(f"Device: {found.device} ({found.reason})")
        self.act.set_ready(True, "Run the model on this slide")
        self._show_tissue()
        if self._run_at_once:
            self._run_at_once = False
            self._run()

    def run_when_ready(self) -> None:
        """Run as soon as the tissue is known, unasked: for the demo."""
        self._run_at_once = True
        if self._estimate is not None:
            self._estimated(self._estimate)

    def _estimate_ended(self) -> None:
        if self._estimate is None and self._entry is not None:
            self.cost.setText("No estimate: draw a region to add, or choose another model")
            self.act.set_ready(False, "There is nothing to run on yet")

    def _show_tissue(self) -> None:
        entry = self._entry
        if entry is None or entry.tissue is None or not entry.alive:
            return
        if self.tissue.isChecked():
            show_tissue(self._viewer, entry.slide, entry.tissue).visible = True
        else:
            layer = find_layer(self._viewer, entry.slide, TISSUE)
            if layer is not None:
                layer.visible = False

    def _draw(self, use: regions.Use) -> None:
        if self._entry is None:
            return
        layer = regions.start_drawing(self._viewer, self._entry.slide, use)
        layer.events.data.disconnect(self._regions_changed)
        layer.events.data.connect(self._regions_changed)

    def _regions_changed(self, event: object) -> None:
        if getattr(event, "action", None) in ("added", "removed", "changed"):
            self._reconsider()

    def _run(self) -> None:
        entry, found = self._entry, self._estimate
        if entry is None or found is None:
            return
        self._run_entry = entry
        entry.prediction = None
        self.maps.clear(entry)
        self._show(entry)
        self.tissue.setChecked(False)
        slide, model, tissue, chosen = entry.slide, self.model_name, found.tissue, compute_settings()
        self.act.show_running(True)
        self._predicting.start(
            lambda: predict(
                slide,
                model,
                tissue=tissue,
                device=chosen.device,
                batch_size=chosen.batch_size,
                threads=spare_cores(),
                workers=spare_cores(),
            ),
            f"ZoomMIL is reading {slide.name}",
        )

    def _progress(self, progress: Progress) -> None:
        entry = self._run_entry
        self.act.show_progress(progress.done, progress.total, progress.note)
        if entry is not None and entry.alive and isinstance(progress.partial, PartialMap):
            self.maps.show_partial(entry, progress.partial)

    def _predicted(self, prediction: Prediction) -> None:
        entry = self._run_entry
        if entry is None or not entry.alive:
            return
        entry.prediction = prediction
        cost = prediction.cost
        self.act.note.setText(f"{sum(cost.encoded):,} patches in {duration(cost.seconds)} on {cost.device}")
        self._session.changed.emit(entry)

    def _ended(self) -> None:
        entry, self._run_entry = self._run_entry, None
        self.act.show_running(False)
        if entry is None or entry.prediction is not None:
            return
        self.act.note.setText("Cancelled" if entry.alive else "")
        if entry.alive:
            self.maps.clear(entry)

    def _removed(self, entry: OpenSlide) -> None:
        """The slide is gone: so is what runs for it."""
        if entry is self._run_entry:
            self._predicting.cancel()
        if entry is self._entry:
            self._estimating.abandon()

    def _hovered(self, viewer: napari.Viewer, _event: object) -> None:
        if not self._pinned:
            self._read_out(viewer)

    def _clicked(self, viewer: napari.Viewer, _event: object) -> None:
        self._pinned = self._read_out(viewer) and not self._pinned

    def _read_out(self, viewer: napari.Viewer) -> bool:
        entry = self._entry
        if entry is None or entry.prediction is None:
            return False
        y, x = np.asarray(viewer.cursor.position[-2:]) / per_pixel(entry.slide) + 0.5
        text = patch_readout(entry.prediction, float(y), float(x))
        self.readout.setText(text or "Off the tissue")
        return bool(text)

    def _stop(self) -> None:
        """The dock is being taken apart: stop what runs, follow nothing more."""
        self._predicting.abandon()
        self._estimating.abandon()
        self._follower.stop()
        self._viewer.mouse_move_callbacks.remove(self._hovered)
        self._viewer.mouse_drag_callbacks.remove(self._clicked)


def model_title(name: str) -> str:
    """A model as the list shows it: ``demo · 5x → 10x → 20x``."""
    spec = read_spec(name)
    steps = " → ".join(map(magnification_name, spec.magnifications))
    return f"{Path(name).name} · {steps}"


def cost_sentence(found: Estimate) -> str:
    """``1,234 patches, about 20 s; all 20x patches would be 5,678``."""
    count = sum(found.patches)
    exhaustive = duration(found.exhaustive * found.seconds_per_patch)
    return (
        f"{count:,} patches, about {duration(found.seconds)}. "
        f"Without zooming: {found.exhaustive:,} patches, {exhaustive}"
    )


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
