"""The Detect dock: find cells in the window, in regions or on the slide, and count them."""

from __future__ import annotations

import time
from pathlib import Path

import napari

from napari_zoommil.cells.spec import finds_title, read_cell_model
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import Job, Progress, detect, finetune_runs
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.detection_files import export_cells
from napari_zoommil.jobs.progress import duration
from napari_zoommil.slides.readers.tiles import damage_note
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.detect.cost import SearchPaces
from napari_zoommil.viewer.docks.detect.parts import Place, Search, area_sentence, place_of
from napari_zoommil.viewer.docks.detect.result import DetectionPanel, cells_found, exported
from napari_zoommil.viewer.docks.model_card_view import CardButton
from napari_zoommil.viewer.docks.model_choice import ModelChoice
from napari_zoommil.viewer.docks.parts import Act, Sentence, heading, row
from napari_zoommil.viewer.docks.results import ResultChoice
from napari_zoommil.viewer.docks.where import WINDOW, Where
from napari_zoommil.viewer.layers.detections import cells_layer, hide_other_cells, set_threshold, show_cells
from napari_zoommil.viewer.notifications import show_error
from napari_zoommil.viewer.open_slide import DETECTION, OpenSlide, ResultKey
from napari_zoommil.viewer.sentences import lack_of
from napari_zoommil.viewer.sight import sight_of
from napari_zoommil.viewer.worker import spare_cores


class DetectDock(SessionDock):
    """Model and place; Detect and Cancel; score, counts and export."""

    kinds = ("cells",)

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._place: Place | None = None
        self._search: Search | None = None
        self._paces = SearchPaces()
        self._detecting = self._runner(self._progress, self._detected, self._ended)
        self._exporting = self._runner(
            lambda progress: self.panel.show_exporting(progress),
            exported,
            lambda _: self.panel.show_exporting(None),
        )
        self._build()
        self._follower.follow(self._session.result_changed, self._result_changed)
        self._ending.append(self.where.stop)
        self._open()

    def _build(self) -> None:
        self.model = ModelChoice(self, self._reconsider, ("cells",))
        self.card = CardButton(self.model)
        self.model.setToolTip(
            "A shipped cell model, one that was fine-tuned on this slide, or a model folder"
        )
        self.slide = Sentence(name="detect-slide")
        self.where = Where(self._viewer, self._session, WINDOW, self._reconsider)
        self.area = Sentence(name="detect-area", lines=2)
        self.how = How(detect, ("batch_size",), "computes")
        self.act = Act("Detect", self._detect, self._detecting.cancel)
        self.results = ResultChoice(self._session, DETECTION, cells_found)
        self.panel = DetectionPanel(self.results, self._filter, self._export, self._exporting.cancel)
        self._lay_out(
            heading("Model"),
            row(self.model, self.card, stretch=0),
            self.slide,
            heading("Where"),
            self.where,
            self.area,
            self.how,
            self.act,
            self.panel,
        )

    # What: model, slide and place

    def _show(self, entry: OpenSlide | None) -> None:
        self._paces.forget()
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.model.offer(finetune_runs.kept(entry.slide) if entry else ())
        self._show_result(entry)
        self.where.set_slide(entry)
        self._reconsider()

    def _result_changed(self, entry: OpenSlide, key: ResultKey) -> None:
        if key.kind != DETECTION:
            return
        self._show_cells(entry, finds_title(key.model))
        if entry is self._entry:
            self._show_result(entry)
            self._reconsider()  # the pace is known now

    def _show_result(self, entry: OpenSlide | None) -> None:
        self.panel.show_slide(entry)
        self.results.show_slide(entry)

    def _show_cells(self, entry: OpenSlide, changed: str) -> None:
        """Bring the layers of cells to the result that is shown; ``changed`` is the title of one of them."""
        found, sight = entry.detection, sight_of(self._viewer)
        kept = {finds_title(key.model) for key in entry.keys(DETECTION)}
        gone = cells_layer(self._viewer, entry.slide, changed)
        if gone is not None and changed not in kept:
            self._viewer.layers.remove(gone)
        if found is None:
            return
        title = finds_title(found.model)
        layer = show_cells(self._viewer, entry.slide, found, title, entry.threshold)
        if not sight.is_away(entry.slide):  # it was hidden while another model's cells were shown
            layer.visible = True
        hide_other_cells(self._viewer, entry.slide, title)

    def _reconsider(self) -> None:
        """Find out anew where a search would look: another slide, model, region or view."""
        self._place, why = None, lack_of(self._entry.slide if self._entry else None)
        if not why and self._entry is not None:
            regions, why = self.where.regions()
            if not why:
                self._place, why = place_of(self._entry, regions)
        if not why and not self.model.chosen:
            why = "Choose the folder of a cell model first"
        self.area.setText(self._cost(self._place) if self._place else why)
        self.act.set_ready(not why, why or "Find the cells there; what is shown stays until they are found")

    def _cost(self, place: Place) -> str:
        pace = self._paces.of(self.model.chosen, self.how.device.currentText())
        return area_sentence(place, pace.seconds(place) if pace else None)

    # Run

    def _detect(self) -> None:
        self._reconsider()  # the view may just have moved
        entry, place = self._entry, self._place
        if entry is None or place is None:
            return
        try:
            model = read_cell_model(self.model.chosen)
        except ZoomMILError as error:
            self.act.note.setText(str(error))
            return show_error(str(error))
        options = self.how.values
        key = ResultKey(DETECTION, model.name, made=time.time(), where=self.where.title)
        self._search, slide = Search(entry, key, model, options["device"]), entry.slide
        tissue = entry.tissue

        def job() -> Job[Detection]:
            return detect(
                slide,
                model.name,
                regions=place.regions,
                tissue=tissue,
                workers=spare_cores(),
                threads=spare_cores(),
                **options,
            )

        self.act.show_running(True, f"Stop looking for cells on {slide.name}")
        self.act.note.setText("starting")
        self._detecting.start(job, f"ZoomMIL is looking for cells on {slide.name}", entry)

    def _progress(self, progress: Progress) -> None:
        self.act.show_progress(progress)
        if self._search is not None and progress.partial is not None:
            self._search.paint(self._viewer, progress.partial)

    def _detected(self, detection: Detection) -> None:
        search = self._search
        assert search is not None
        search.result = detection
        told = f"Done in {duration(search.seconds)} on {device_name(search.device)}"
        remarks = (told, damage_note(detection.damaged), detection.note)
        self.act.note.setText(". ".join(remark for remark in remarks if remark))
        self._paces.forget()
        self._session.keep(search.entry, search.key, detection)

    def _ended(self, failure: str | None) -> None:
        search, self._search = self._search, None
        self.act.show_running(False)
        if search is None or search.result is not None:
            return
        self.act.note.setText(failure or "Cancelled")
        if search.entry.alive:
            search.take_back(self._viewer)

    # Result

    def _filter(self, threshold: float) -> None:
        entry = self._entry
        if entry is None or entry.detection is None:
            return
        title = finds_title(entry.detection.model)
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
        self._show_exporting(Progress(0, 1, ""))
        self._exporting.start(
            lambda: export_cells(path, detection, threshold, overwrite=True),  # the user has chosen
            f"ZoomMIL is writing {path.name}",
        )

    def _show_exporting(self, progress: Progress | None = None) -> None:
        self.panel.show_exporting(progress)


def device_name(asked: str) -> str:
    """Which device that was; torch is loaded by now."""
    from napari_zoommil.encoders.device import choose_device

    return str(choose_device(asked).torch)
