"""The Detect dock: find cells in the window, in regions or on the slide, and count them."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.utils.notifications import show_error

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import Job, Progress, detect
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.models.folder import Kind
from napari_zoommil.slides.tiles import damage_note
from napari_zoommil.viewer import search, training_runs
from napari_zoommil.viewer.cell_models import read_cell_model, title_of
from napari_zoommil.viewer.cells_layer import cells_layer, set_threshold, show_cells
from napari_zoommil.viewer.compat import real_viewer
from napari_zoommil.viewer.docks.detect_parts import How, Place, Run, Where, area_sentence
from napari_zoommil.viewer.docks.detect_result import DetectionPanel, export_job, exported
from napari_zoommil.viewer.docks.drawn import DrawnRegions
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.parts import Act, Follower, Page, Sentence, heading
from napari_zoommil.viewer.drawing import HOW
from napari_zoommil.viewer.session import OpenSlide, session_of
from napari_zoommil.viewer.words import duration, lack_of
from napari_zoommil.viewer.worker import JobRunner, spare_cores


class DetectDock(Page):
    """Model and place; Detect and Cancel; score, counts and export."""

    takes: Kind = "cells"

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(closed=self._stop)
        self._viewer = viewer = real_viewer(napari_viewer)
        self._session = session_of(viewer)
        self._follower = Follower()
        self._entry: OpenSlide | None = None
        self._place: Place | None = None
        self._running: Run | None = None
        self._pace: dict[str, float] = {}
        self._detecting = JobRunner(viewer, self._progress, self._detected, self._ended)
        self._exporting = JobRunner(viewer, lambda _: None, exported, lambda _: self._export_ended())
        self._build()
        for signal, callback in (
            (self._session.activated, self._show),
            (self._session.changed, self._changed),
            (self._session.removed, self._removed),
            (viewer.scene.camera.events.zoom, self._moved),
            (viewer.scene.camera.events.center, self._moved),
        ):
            self._follower.follow(signal, callback)
        self._regions = DrawnRegions(viewer, (search.SEARCHED,), self._reconsider)
        self._show(self._session.active)

    def _build(self) -> None:
        self.model = ModelChoice(self, self._reconsider, ("cells",))
        self.model.setToolTip(
            "A shipped cell model, one that was fine-tuned on this slide, or a model folder"
        )
        self.slide = Sentence(name="detect-slide")
        self.where = Where(self._viewer, self._reconsider)
        self.where.draw.clicked.connect(self._draw)
        self.how = How()
        self.act = Act("Detect", self._detect, self._detecting.cancel)
        self.panel = DetectionPanel(self._filter, self._export)
        widgets = (
            heading("Model"),
            self.model,
            self.slide,
            heading("Where"),
            self.where,
            self.how,
            self.act,
            self.panel,
        )
        for widget in widgets:
            self.column.addWidget(widget)
        self.column.addStretch(1)

    # What: model, slide and place

    def add_model(self, folder: Path) -> None:
        """Offer a model in a folder, and choose it."""
        self.model.choose(Path(folder))

    def _show(self, entry: OpenSlide | None) -> None:
        """Another slide is active, or there is news of the active one."""
        if entry is not self._session.active:
            return
        self._entry = entry
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.model.offer(training_runs.kept(entry.slide) if entry else ())
        self.panel.show_slide(entry)
        self._regions.set_slide(entry.slide if entry else None)
        self._reconsider()

    def _changed(self, entry: OpenSlide) -> None:
        if self._running is not None and self._running.entry is entry and self._running.stale:
            self._detecting.cancel()
        self._show(entry)

    def _removed(self, entry: OpenSlide) -> None:
        """The slide is gone: so is what runs for it."""
        if self._running is not None and self._running.entry is entry:
            self._detecting.cancel()

    def _moved(self, _event: object) -> None:
        self._reconsider()

    def _draw(self) -> None:
        if self._entry is not None:
            self.where.start_drawing(self._entry)

    def _reconsider(self) -> None:
        """Find out anew where a search would look: another slide, model, region or view."""
        self._place, why = None, lack_of(self._entry.slide if self._entry else None)
        self.where.draw.setEnabled(not why)
        self.where.draw.setToolTip(why or f"Draw a region to search; each press adds one. {HOW}")
        if not why and self._entry is not None:
            self._place, why = self.where.place(self._entry)
        if not why and not self.model.chosen:
            why = "Choose the folder of a cell model first"
        pace = self._pace.get(self.model.chosen)
        self.where.area.setText(area_sentence(self._place, pace) if self._place else why)
        self.act.set_ready(not why, why or "Find the cells there; what was found before is replaced")

    # Run

    def _detect(self) -> None:
        entry, place = self._entry, self._place
        if entry is None or place is None:
            return
        try:
            model = read_cell_model(self.model.chosen)
        except ZoomMILError as error:
            self.act.note.setText(str(error))
            return show_error(str(error))
        device, batch = self.how.device.currentText(), self.how.tiles.value()
        self._running, slide = Run(entry, model, device), entry.slide
        tissue = None if place.regions else entry.tissue

        def job() -> Job[Detection]:
            return detect(
                slide,
                model.name,
                regions=place.regions,
                tissue=tissue,
                device=device,
                batch_size=batch,
                workers=spare_cores(),
                threads=spare_cores(),
            )

        self.act.show_running(True, f"Stop looking for cells on {slide.name}")
        self.act.note.setText("starting")
        self._detecting.start(job, f"ZoomMIL is looking for cells on {slide.name}")

    def _progress(self, progress: Progress) -> None:
        run = self._running
        if run is None:
            return
        self.act.show_progress(progress.done, progress.total, progress.note)
        if run.entry.alive and progress.partial is not None:
            run.paint(self._viewer, progress.partial)

    def _detected(self, detection: Detection) -> None:
        run = self._running
        if run is None or not run.entry.alive or run.stale:
            return
        run.result, run.entry.detection, run.entry.threshold = detection, detection, detection.threshold
        show_cells(self._viewer, run.entry.slide, detection, run.model.title)
        told = f"Done in {duration(run.seconds)} on {device_name(run.device)}"
        hurt = damage_note(detection.damaged)
        self.act.note.setText(f"{told}. {hurt}" if hurt else told)
        if detection.area_mm2:
            self._pace[run.model.name] = run.seconds / detection.area_mm2
        self._session.changed.emit(run.entry)

    def _ended(self, failure: str | None) -> None:
        run, self._running = self._running, None
        self.act.show_running(False)
        if run is None or run.result is not None:
            return
        self.act.note.setText(failure or "Cancelled")
        if run.entry.alive:
            run.take_back(self._viewer)

    # Result

    def _filter(self, threshold: float) -> None:
        entry = self._entry
        if entry is None or entry.detection is None:
            return
        title = title_of(entry.detection.model)
        layer = cells_layer(self._viewer, entry.slide, title)
        if layer is None:  # it was removed by hand
            show_cells(self._viewer, entry.slide, entry.detection, title, threshold)
        else:
            set_threshold(layer, threshold)

    def _export(self, path: Path) -> None:
        entry = self._entry
        if entry is None or entry.detection is None or self._exporting.running:
            return
        detection, threshold = entry.detection, entry.threshold
        self.panel.export.setEnabled(False)
        self._exporting.start(
            lambda: export_job(detection, threshold, path), f"ZoomMIL is writing {path.name}"
        )

    def _export_ended(self) -> None:
        self.panel.show_slide(self._entry)

    def _stop(self) -> None:
        """The dock is being taken apart: stop what runs, follow nothing more."""
        self._detecting.close()
        self._exporting.close()
        self._follower.stop()
        self._regions.stop()


def device_name(asked: str) -> str:
    """Which device that was; torch is loaded by now."""
    from napari_zoommil.encoders.device import choose_device

    return str(choose_device(asked).torch)
