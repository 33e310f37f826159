"""The Attention dock: run a MIL model on the slide and watch where it looks."""

from __future__ import annotations

import time
from typing import Any

import napari
from qtpy.QtWidgets import QCheckBox, QPushButton

from napari_zoommil.annotations.regions import Region
from napari_zoommil.errors import ConsentError
from napari_zoommil.jobs import Estimate, Job, Progress, estimate, predict, prediction_store
from napari_zoommil.jobs.finetune_runs import kept
from napari_zoommil.jobs.prediction import PartialMap, Prediction
from napari_zoommil.jobs.prediction_store import ALL_TISSUE as ALL_READ
from napari_zoommil.jobs.prediction_store import FROM_FILES, KeptPrediction
from napari_zoommil.jobs.progress import duration
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.attention.bars import ProbabilityBars
from napari_zoommil.viewer.docks.attention.export import ExportResult
from napari_zoommil.viewer.docks.attention.maps import MapsPanel
from napari_zoommil.viewer.docks.attention.readout import Readout
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.encoder_question import FIRST, EncoderQuestion
from napari_zoommil.viewer.docks.explaining import Asked, Explainer
from napari_zoommil.viewer.docks.model_card_view import CardButton
from napari_zoommil.viewer.docks.model_choice import ModelChoice, needs_pixel_size, reads_images
from napari_zoommil.viewer.docks.parts import Act, Sentence, button, heading, row
from napari_zoommil.viewer.docks.results import ResultChoice
from napari_zoommil.viewer.docks.showing import show_dock
from napari_zoommil.viewer.docks.where import TISSUE as ALL_TISSUE
from napari_zoommil.viewer.docks.where import Where
from napari_zoommil.viewer.layers import tissue_regions
from napari_zoommil.viewer.layers.drawing import HOW
from napari_zoommil.viewer.layers.overlays import TISSUE, find_layer, remove_maps, show_tissue
from napari_zoommil.viewer.layers.region_events import DrawnRegions
from napari_zoommil.viewer.open_slide import EXPLANATION, PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.reading import Reading
from napari_zoommil.viewer.sentences import cost_sentence, lack_of, outcome
from napari_zoommil.viewer.settings import compute_settings
from napari_zoommil.viewer.sight import sight_of
from napari_zoommil.viewer.worker import spare_cores

LOOKING = "Looking for tissue …"

OWN_PIXELS = "Or choose the magnification 0 under Advanced: the model then reads its pixels as they are"

READING = ("features", "overlap", "min_tissue", "magnification", "store", "batch_size")
"""Parameters of ``predict`` that are made from the job itself."""


class AttentionDock(SessionDock):
    """Model, tissue, cost; Run and Cancel; probabilities, maps and scores."""

    kinds = ("mil",)

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._estimate: Estimate | None = None
        self._key = ResultKey(PREDICTION, "")
        self._read_as = Reading(None, None, {})
        self._run_at_once = False
        self._has_prediction = False
        self._estimating = self._runner(self._estimate_progress, self._estimated, self._estimate_ended)
        self._predicting = self._runner(self._progress, self._predicted, self._ended)
        self._build()
        self._follower.follow(self._session.result_changed, self._result_changed)
        self._regions = DrawnRegions(self._viewer, tissue_regions.TITLES.values(), self._reconsider)
        self._ending += [self._regions.stop, self.where.stop, self.readout.stop]
        self._open()

    def _build(self) -> None:
        self.model = ModelChoice(self, self._reconsider, ("mil",), hub=True)
        self.card = CardButton(self.model)
        self.model.setToolTip(
            "A shipped model, one that was fine-tuned on this slide, a model folder, or a model on the hub"
        )
        self.encoder = EncoderQuestion(self._session, self._reconsider)
        self.slide = Sentence(name="attention-slide")
        self.tissue = QCheckBox("Show tissue")
        self.tissue.setToolTip("What the model will read: tissue found by itself, with your regions applied")
        self.tissue.setChecked(True)
        self.tissue.toggled.connect(self._show_tissue)
        self.add = QPushButton("Add region")
        self.add.clicked.connect(lambda: self._draw("add"))
        self.leave = QPushButton("Leave out")
        self.leave.clicked.connect(lambda: self._draw("leave out"))
        self.where = Where(self._viewer, self._session, ALL_TISSUE, self._reconsider)
        self.cost = Sentence(name="cost", lines=3)
        self.device = Sentence(name="device", lines=2)
        self.how = How(predict, READING, "computes", self._reconsider)
        with self.how.advanced["batch_size"].changed.blocked():
            self.how.advanced["batch_size"].value = compute_settings().batch_size
        self.act = Act("Run", self._run, self._cancel)
        self.results = ResultChoice(self._session, PREDICTION, outcome)
        self.bars = ProbabilityBars()
        self.maps = MapsPanel(self._viewer, self._explain)
        self._explainer = Explainer(self._session, self._runner, self.act, self.maps.revert)
        self.readout = Readout(self._viewer, self.maps)
        self.export = ExportResult(self._runner)
        self.why = button("Explain…", "The Explain dock: more methods and places, and whether a map is true")
        self.why.clicked.connect(lambda: show_dock(self._viewer, "Explain"))
        self._lay_out(
            heading("Model"),
            row(self.model, self.card, stretch=0),
            self.encoder,
            self.slide,
            heading("Tissue"),
            row(self.tissue, 1, self.add, self.leave),
            heading("Where"),
            self.where,
            self.cost,
            self.device,
            self.how,
            self.act,
            heading("Result"),
            self.results,
            self.bars,
            self.maps,
            self.export,
            self.why,
            self.readout,
        )

    # What: model and slide

    def _show(self, entry: OpenSlide | None) -> None:
        self.slide.setText(f"on {entry.slide.name}" if entry else "Open a slide first")
        self.tissue.setChecked(entry is None or entry.prediction is None)
        self._regions.set_slide(entry.slide if entry else None)
        self.where.set_slide(entry)
        self._show_result(entry)
        self.model.offer((*(kept(entry.slide) if entry else ()), *self._session.cohort_models))
        self._reconsider()

    def _result_changed(self, entry: OpenSlide, key: ResultKey) -> None:
        if entry is not self._entry:
            return
        if key.kind == PREDICTION:
            if entry.prediction is None:  # the last one was removed from the list
                remove_maps(self._viewer, entry.slide)
            elif not self._has_prediction:
                self.tissue.setChecked(False)  # maps are there in its place
            self._show_result(entry)
        elif key.kind == EXPLANATION and key.variant == self.maps.kind:
            self.maps.refresh()  # others are of the Explain dock, which shows them

    def _show_result(self, entry: OpenSlide | None) -> None:
        self._has_prediction = entry is not None and entry.prediction is not None
        self.results.show_slide(entry)
        self.export.show_slide(entry)
        self.why.setVisible(self._has_prediction)
        self.bars.show_prediction(entry.prediction if entry else None)
        self.readout.set_slide(entry)
        self.maps.set_slide(entry)

    # Tissue and cost

    def _draw(self, use: tissue_regions.Use) -> None:
        if self._entry is not None:
            tissue_regions.start_drawing(self._viewer, self._entry.slide, use)

    def _reconsider(self) -> None:
        """Find out anew what a run would cost: another slide, model or region."""
        self._estimating.abandon()
        self._estimate = None
        self.encoder.show_for(self.model.chosen)
        self.how.advanced["magnification"].enabled = reads_images(self.model.chosen)
        why, entry = self._lack(), self._entry
        self.cost.setText(why or LOOKING)
        self.device.setText("")
        for drawing, help_text in (
            (self.add, f"Draw a region that is tissue though it was not found. {HOW}"),
            (self.leave, f"Draw a region that the model must not read. {HOW}"),
        ):
            drawing.setEnabled(not why)
            drawing.setToolTip(why or help_text)
        inside, nothing = ((), "") if why else self.where.regions()
        if nothing:
            why = nothing
            self.cost.setText(why)
        self.act.set_ready(False, why or LOOKING)
        if entry is None or why:
            return
        slide, model = entry.slide, self.model.chosen
        encoder, how = self.encoder.given(model), self._how(inside)
        added, left_out = tissue_regions.polygons(self._viewer, slide)
        self._estimating.start(
            lambda: estimate(
                slide,
                model,
                encoder=encoder,
                add=added,
                leave_out=left_out,
                threads=spare_cores(),
                workers=spare_cores(),
                **how,
            ),
            f"ZoomMIL is looking for tissue on {slide.name}",
            entry,
        )

    def _lack(self) -> str:
        """What must be done before the model can read the slide; empty if nothing."""
        slide, model = self._entry.slide if self._entry else None, self.model.chosen
        at = self._how(())["magnification"]
        why = lack_of(slide, needs_pixel_size(model, at))
        return f"{why}. {OWN_PIXELS}" if why and slide is not None and reads_images(model) else why

    def _estimate_progress(self, progress: Progress) -> None:
        self.cost.setText(f"{progress.note} …")

    def _estimated(self, found: Estimate) -> None:
        entry = self._entry
        if entry is None:
            return
        self._estimate = found
        entry.tissue = found.tissue or entry.tissue
        self.cost.setText(cost_sentence(found))
        self.device.setText(f"Device: {found.device} ({found.reason})")
        self.act.set_ready(True, "Run the model on this slide")
        self._show_tissue()
        if self._run_at_once:
            self._run_at_once = False
            self._run()

    def _estimate_ended(self, failure: str | None) -> None:
        if failure is None:
            return
        error = self._estimating.error
        if self.encoder.after(self.model.chosen, error):
            return self._reconsider()
        why = FIRST if isinstance(error, ConsentError) else failure
        self.cost.setText(why)
        self.act.set_ready(False, why)

    def _show_tissue(self) -> None:
        entry = self._entry
        if entry is None or entry.tissue is None or not entry.alive:
            return
        if self.tissue.isChecked():
            layer = show_tissue(self._viewer, entry.slide, entry.tissue)
            if not sight_of(self._viewer).is_put_away(layer):
                layer.visible = True
        else:
            hidden = find_layer(self._viewer, entry.slide, TISSUE)
            if hidden is not None:
                sight_of(self._viewer).forget(hidden)
                hidden.visible = False

    # Run

    def run_when_ready(self) -> None:
        """Run as soon as the tissue is known, unasked: for the demo."""
        self._run_at_once = True
        if self._estimate is not None:
            self._estimated(self._estimate)

    def _run(self) -> None:
        entry, found = self._entry, self._estimate
        inside, nothing = self.where.regions()
        if entry is None or found is None or nothing:
            return
        self.tissue.setChecked(False)  # maps are coming in its place
        self._explainer.runner.abandon()
        slide, model = entry.slide, self.model.chosen
        how = self._how(inside)
        self._read_as = Reading(found.tissue, self.encoder.given(model), how, found.detector)
        reading = self._read_as
        self._key = key = ResultKey(PREDICTION, model, made=time.time(), where=self._what_is_read())
        self.act.show_running(True, f"Stop reading {slide.name}")
        self._predicting.start(
            lambda: _predict_and_keep(slide, key, reading), f"ZoomMIL is reading {slide.name}", entry
        )

    def _how(self, inside: tuple[Region, ...]) -> dict[str, Any]:
        """What the user set; the magnification where the model leaves it open."""
        how = {**self.how.values, "regions": inside}
        return how if reads_images(self.model.chosen) else how | {"magnification": None}

    def _what_is_read(self) -> str:
        """What of the slide is read, for the list of results."""
        assert self._entry is not None
        ways = self._read_as.ways.text
        if ways == FROM_FILES:
            return ways
        added, left_out = map(len, tissue_regions.polygons(self._viewer, self._entry.slide))
        changed = ((added, "added"), (left_out, "left out"))
        told = f"{self.where.title}{ways.removeprefix(ALL_READ)}"
        return ", ".join([told, *(f"{count} {done}" for count, done in changed if count)])

    def _cancel(self) -> None:
        self._predicting.cancel()
        self._explainer.runner.cancel()

    def _explain(self, method: str) -> None:
        """Compute a method for the prediction that is shown, unless another slide is being read."""
        if self._entry is None:
            return
        if self._predicting.running:
            self.act.note.setText(f"{METHODS[method].title} can be computed when the run has ended")
            return self.maps.revert()
        self._explainer.explain(self._entry, Asked(method), self.encoder.given)

    def _progress(self, progress: Progress) -> None:
        entry = self._predicting.of
        self.act.show_progress(progress, "" if entry is self._entry else entry.slide.name)
        if isinstance(progress.partial, PartialMap) and entry.prediction is None:  # what is shown stays
            self.maps.show_partial(entry, progress.partial)

    def _predicted(self, prediction: Prediction) -> None:
        entry, cost = self._predicting.of, prediction.cost
        self.act.note.setText(
            f"{cost.counted}, {duration(cost.seconds)} on {cost.device}"
            + ("" if entry is self._entry else f", {entry.slide.name}")
            + (f". {cost.unkept}" if cost.unkept else "")
        )
        entry.readings[prediction] = self._read_as
        self._session.keep(entry, self._key, prediction)
        if entry is self._entry:
            self.scroll_to(self.readout)

    def _ended(self, failure: str | None) -> None:
        entry = self._predicting.of
        self.act.show_running(False)
        if self._predicting.done:
            return
        self.act.note.setText(failure or "Cancelled")
        if entry.alive and entry.prediction is None:
            remove_maps(self._viewer, entry.slide)


def _predict_and_keep(slide: Slide, key: ResultKey, reading: Reading) -> Job[Prediction]:
    """Predict, and store the prediction for the next time that the slide is opened."""
    mpp, colours = slide.mpp, slide.colour_managed
    prediction = yield from predict(slide, key.model, **reading.options())
    prediction_store.keep(KeptPrediction(prediction, key.made, key.where, mpp, colours, reading.stored))
    return prediction
