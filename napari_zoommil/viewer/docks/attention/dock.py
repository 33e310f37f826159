"""The Attention dock: run a MIL model on the slide and watch where it looks."""

from __future__ import annotations

from pathlib import Path

import napari
from qtpy.QtWidgets import QCheckBox, QPushButton

from napari_zoommil.jobs import Estimate, Progress, estimate, predict
from napari_zoommil.jobs.finetune_runs import kept
from napari_zoommil.jobs.prediction import PartialMap, Prediction
from napari_zoommil.model_folder import Kind
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.attention.bars import ProbabilityBars
from napari_zoommil.viewer.docks.attention.maps import MapsPanel
from napari_zoommil.viewer.docks.attention.readout import Readout
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.parts import Act, Follower, Page, Sentence, heading, row
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.layers.overlays import TISSUE, find_layer, show_tissue
from napari_zoommil.viewer.layers.region_events import DrawnRegions
from napari_zoommil.viewer.sentences import cost_sentence, duration, lack_of
from napari_zoommil.viewer.session import OpenSlide, session_of
from napari_zoommil.viewer.settings import compute_settings
from napari_zoommil.viewer.worker import JobRunner, spare_cores


class AttentionDock(Page):
    """Model, tissue, cost; Run and Cancel; probabilities, maps and scores."""

    takes: Kind = "mil"

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(closed=self._stop)
        self._viewer = viewer = real_viewer(napari_viewer)
        self._session = session_of(viewer)
        self._follower = Follower()
        self._entry: OpenSlide | None = None
        self._run_entry: OpenSlide | None = None
        self._estimate: Estimate | None = None
        self._run_at_once = False
        self._estimating = JobRunner(viewer, self._estimate_progress, self._estimated, self._estimate_ended)
        self._predicting = JobRunner(viewer, self._progress, self._predicted, self._ended)
        self._build()
        self._follower.follow(self._session.activated, self._show)
        self._follower.follow(self._session.changed, self._show)
        self._follower.follow(self._session.removed, self._removed)
        self._regions = DrawnRegions(viewer, tissue_regions.REGIONS, self._reconsider)
        self._show(self._session.active)

    def _build(self) -> None:
        self.model = ModelChoice(self, self._reconsider, ("mil",), hub=True)
        self.model.setToolTip(
            "A shipped model, one that was fine-tuned on this slide, a model folder, or a model on the hub"
        )
        self.slide = Sentence(name="attention-slide")
        self.tissue = QCheckBox("Show tissue")
        self.tissue.setToolTip("What the model will read: tissue found by itself, with your regions applied")
        self.tissue.setChecked(True)
        self.tissue.toggled.connect(self._show_tissue)
        self.add = QPushButton("Add region")
        self.add.clicked.connect(lambda: self._draw("add"))
        self.leave = QPushButton("Leave out")
        self.leave.clicked.connect(lambda: self._draw("leave out"))
        self.cost = Sentence(name="cost")
        self.device = Sentence(name="device")
        self.act = Act("Run", self._run, self._predicting.cancel)
        self.bars = ProbabilityBars()
        self.maps = MapsPanel(self._viewer)
        self.readout = Readout(self._viewer, self.maps)
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

    # What: model and slide

    def add_model(self, folder: Path) -> None:
        """Offer a model in a folder, and choose it."""
        self.model.choose(Path(folder))

    def _show(self, entry: OpenSlide | None) -> None:
        if entry is not self._session.active:
            return
        changed = entry is not self._entry or (entry is not None and entry.detected is None)
        self._entry = entry
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.bars.show_prediction(entry.prediction if entry else None)
        self.maps.set_slide(entry)
        self.readout.set_slide(entry)
        if changed:
            self.model.offer(kept(entry.slide) if entry else ())
            self.tissue.setChecked(entry is None or entry.prediction is None)
            self._regions.set_slide(entry.slide if entry else None)
            self._reconsider()

    def _removed(self, entry: OpenSlide) -> None:
        """The slide is gone: so is what runs for it."""
        if entry is self._run_entry:
            self._predicting.cancel()
        if entry is self._entry:
            self._estimating.abandon()

    # Tissue and cost

    def _draw(self, use: tissue_regions.Use) -> None:
        if self._entry is not None:
            tissue_regions.start_drawing(self._viewer, self._entry.slide, use)

    def _reconsider(self) -> None:
        """Find out anew what a run would cost: another slide, model or region."""
        self._estimating.abandon()
        self._estimate = None
        why, entry = lack_of(self._entry.slide if self._entry else None), self._entry
        self.cost.setText(why)
        self.device.setText("")
        for button, help_text in (
            (self.add, "Draw a region that is tissue though it was not found"),
            (self.leave, "Draw a region that the model must not read"),
        ):
            button.setEnabled(not why)
            button.setToolTip(why or help_text)
        self.act.set_ready(False, why or "The tissue is being looked for")
        if entry is None or why:
            return
        slide, model, detected = entry.slide, self.model.chosen, entry.detected
        device = compute_settings().device
        added, left_out = tissue_regions.polygons(self._viewer, slide)
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

    def _estimate_ended(self, failure: str | None) -> None:
        if failure is not None:
            self.cost.setText(failure)
            self.act.set_ready(False, failure)

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

    # Run

    def run_when_ready(self) -> None:
        """Run as soon as the tissue is known, unasked: for the demo."""
        self._run_at_once = True
        if self._estimate is not None:
            self._estimated(self._estimate)

    def _run(self) -> None:
        entry, found = self._entry, self._estimate
        if entry is None or found is None:
            return
        self._run_entry = entry
        entry.prediction = None
        self.maps.clear(entry)
        self._show(entry)
        self.tissue.setChecked(False)  # maps are coming in its place
        slide, model, tissue, chosen = entry.slide, self.model.chosen, found.tissue, compute_settings()
        self.act.show_running(True, f"Stop reading {slide.name}")
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
        if entry is None:
            return
        elsewhere = "" if entry is self._entry else entry.slide.name
        self.act.show_progress(progress, elsewhere)
        if entry.alive and isinstance(progress.partial, PartialMap):
            self.maps.show_partial(entry, progress.partial)

    def _predicted(self, prediction: Prediction) -> None:
        entry = self._run_entry
        if entry is None or not entry.alive:
            return
        entry.prediction = prediction
        cost = prediction.cost
        self.act.note.setText(
            f"{sum(cost.patches):,} patches in {duration(cost.seconds)} on {cost.device}"
            + ("" if entry is self._entry else f", {entry.slide.name}")
        )
        self._session.changed.emit(entry)

    def _ended(self, failure: str | None) -> None:
        entry, self._run_entry = self._run_entry, None
        self.act.show_running(False)
        if entry is None or entry.prediction is not None:
            return
        self.act.note.setText(failure or "Cancelled")
        if entry.alive:
            self.maps.clear(entry)

    def _stop(self) -> None:
        """The dock is being taken apart: stop what runs, follow nothing more."""
        self._predicting.close()
        self._estimating.close()
        self._follower.stop()
        self._regions.stop()
        self.readout.stop()
