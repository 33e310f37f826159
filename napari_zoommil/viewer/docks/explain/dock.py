"""The Explain dock: a method, an output and a place; the map, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel

from napari_zoommil.annotations import Changed
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.jobs.explain import prepare_to_explain
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.map_agreement import SlideAgreement
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_files import write_agreement, write_curves, write_explanation
from napari_zoommil.maps.curves import Curves
from napari_zoommil.maps.focus import MethodOptions
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.model_folder import find_model
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.docks.advanced import Advanced
from napari_zoommil.viewer.docks.base import SessionDock
from napari_zoommil.viewer.docks.encoder_question import EncoderQuestion
from napari_zoommil.viewer.docks.explain.evaluation import Evaluation
from napari_zoommil.viewer.docks.explain.place import ASK_PATCH, Place
from napari_zoommil.viewer.docks.explain.result import ShownMap
from napari_zoommil.viewer.docks.explaining import Asked, Explainer, read_again
from napari_zoommil.viewer.docks.parts import Act, Fold, Sentence, button, heading, row
from napari_zoommil.viewer.docks.plain_text import plain_tip
from napari_zoommil.viewer.docks.results import ResultChoice
from napari_zoommil.viewer.notifications import show_info
from napari_zoommil.viewer.open_slide import EXPLANATION, PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.sentences import kind_help, kind_summary, outcome

NOTHING = "Run a model in the Attention dock first: its prediction is what is explained"


class ExplainDock(SessionDock):
    """Prediction, method, output and place; Explain and Cancel; the map, agreement and faithfulness."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._asked: Asked | None = None
        self._prepared: set[str] = set()
        self._preparing = self._runner(lambda _: None, self._prepared.add, lambda _: None, quiet=True)
        self._exporting = self._runner(
            lambda _: None, lambda folder: show_info(f"The explanation is in {folder}"), self._export_ended
        )
        self._build()
        self._follower.follow(self._session.result_changed, self._result_changed)
        self._follower.follow(self._session.document_changed, self._document_changed)
        self._follower.follow(self._viewer.events.theme, self._set_theme)
        self._ending.append(self.place.stop)
        self._set_theme()
        self._open()

    def _build(self) -> None:
        self.slide = Sentence(name="explain-slide")
        self.results = ResultChoice(self._session, PREDICTION, outcome)
        self.method, self.output = QComboBox(), QComboBox()
        self.method.setToolTip("How it is explained")
        self.method.currentIndexChanged.connect(lambda _: self._choose_method())
        self.output.setToolTip("Output of the model that is explained")
        self.output.currentIndexChanged.connect(lambda _: self._show_result())
        for box in (self.method, self.output):
            box.setMinimumContentsLength(10)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._of = row(QLabel("For"), self.output, stretch=1)
        self.about = Sentence(name="explain-about")
        self.place = Place(self._viewer, self._reconsider, self._explain)
        self.options = Advanced(MethodOptions, ("layer", "relu", "rms", "block", "boxes"))
        self.act = Act("Explain", self._explain, lambda: self._explainer.runner.cancel())
        self.encoder = EncoderQuestion(self._session, self._explain)
        self._explainer = Explainer(self._session, self._runner, self.act, self._failed)
        self.shown = ShownMap(self._viewer)
        self.evaluation = Evaluation(self._runner, self.encoder.given)
        self.export = button("Export…", "Write the map, its scores, agreement and curves to a folder")
        self.export.clicked.connect(self._ask_where)
        self._lay_out(
            heading("Prediction"),
            self.slide,
            self.results,
            self.encoder,
            heading("Method"),
            row(self.method, stretch=0),
            self._of,
            self.about,
            heading("Where"),
            self.place,
            Fold("Advanced", self.options),
            self.act,
            self.shown,
            self.evaluation,
            self.export,
        )

    def _set_theme(self, _event: object = None) -> None:
        self.evaluation.set_theme(self._viewer.theme)

    # What

    def _show(self, entry: OpenSlide | None) -> None:
        self.results.show_slide(entry)
        prediction = entry.prediction if entry is not None else None
        told = "Open a slide first" if entry is None else NOTHING
        if entry is not None and prediction is not None:
            told = f"{Path(prediction.model).name} on {entry.slide.name}"
        self.slide.setText(told)
        self.encoder.show_for(prediction.model if prediction is not None else "")
        self.place.show_prediction(entry, prediction)
        self._offer_methods()
        self._asked = None
        self._show_result()
        self._reconsider()
        if entry is not None and prediction is not None:
            self._prepare(entry, prediction)

    def _prepare(self, entry: OpenSlide, prediction: Prediction) -> None:
        """Load what the first explanation takes while the user chooses a method, once for each model.

        Nothing is fetched: the user has not asked for anything yet.
        """
        model = prediction.model
        if model in self._prepared or self._preparing.running:
            return
        options = read_again(entry, prediction, self.encoder.given)
        how = {name: options[name] for name in options if name in ("encoder", "device", "threads")}
        self._preparing.start(lambda: prepare_job(model, how))

    def _offer_methods(self) -> None:
        """The methods that this prediction can be explained by; the choice stays, if it is one of them."""
        prediction = self._entry.prediction if self._entry else None
        before: str | None = self.method.currentData()
        names: tuple[str, ...] = ()
        if prediction is not None:
            there = {kind for kind, _ in prediction.kinds}
            known = prediction.familiarity.status == "known"
            names = tuple(
                name
                for name, one in METHODS.items()
                if name in there or (one.computed and (known or one.needs != "pixels"))
            )
        with QSignalBlocker(self.method):
            self.method.clear()
            for name in names:
                self.method.addItem(METHODS[name].title, name)
                self.method.setItemData(
                    self.method.count() - 1, plain_tip(kind_help(name)), Qt.ItemDataRole.ToolTipRole
                )
            chosen = before if before in names else "grad-cam"
            self.method.setCurrentIndex(self.method.findData(chosen))
        kept = self.output.currentText()
        with QSignalBlocker(self.output):
            self.output.clear()
            if prediction is not None:
                self.output.addItems(list(prediction.task.names))
                self.output.setCurrentText(kept if kept in prediction.task.names else prediction.explained)
        self._choose_method()

    def _choose_method(self) -> None:
        name = self.method.currentData()
        self.about.setText(kind_summary(name) if name else "")
        self.about.setToolTip(kind_help(name) if name else "")
        self._of.setVisible(self.target is not None and self.output.count() > 1)
        self._reconsider()

    @property
    def target(self) -> str | None:
        """The output that is explained; None of a method that does not tell outputs apart.

        Attention does where the model has one for each output.
        """
        name, prediction = self.method.currentData(), self._entry.prediction if self._entry else None
        if not name or prediction is None:
            return None
        apart = METHODS[name].per_output or any(
            kind == name and target is not None for kind, target in prediction.kinds
        )
        return self.output.currentText() if apart else None

    def _reconsider(self) -> None:
        """Whether what is chosen can be explained."""
        name, (focus, why) = self.method.currentData(), self.place.focus
        if name is None:
            why = self.slide.text()
        elif focus is not None and focus.at is not None and not METHODS[name].inside:
            able = ", ".join(one.title for one in METHODS.values() if one.inside)
            why = f"{METHODS[name].title} gives a value to a patch and none to its pixels; take {able}"
        self.act.set_ready(not why, why or "Explain the prediction by this method there")
        if not self._explainer.runner.running:
            self.act.note.setText("" if why == ASK_PATCH else why)  # which stands with the place

    # Act

    def _explain(self) -> None:
        self._reconsider()  # the view may just have moved
        entry, name, (focus, _) = self._entry, self.method.currentData(), self.place.focus
        if entry is None or name is None or focus is None or not self.act.button.isEnabled():
            return
        self._asked = Asked(name, focus, MethodOptions(**self.options.values))
        key = self._asked.key(entry)
        if key in entry.results:
            return self._show_result()
        self._explainer.explain(entry, self._asked, self.encoder.given)

    def _failed(self) -> None:
        """Ask for the encoder of the model, if that is what is missing."""
        model = self._entry.prediction.model if self._entry and self._entry.prediction else ""
        if self.encoder.after(model, self._explainer.runner.error):
            return self._explain()
        self.encoder.show_for(model)

    def _result_changed(self, entry: OpenSlide, key: ResultKey) -> None:
        if entry is not self._entry:
            return
        if key.kind == PREDICTION:
            self._show(entry)
        elif key.kind == EXPLANATION and self._asked is not None and key == self._asked.key(entry):
            self._show_result()

    def _document_changed(self, entry: OpenSlide, changed: Changed) -> None:
        if entry is self._entry and (changed.regions or changed.classes):
            self.evaluation.offer_regions()

    # Result

    @property
    def explanation(self) -> Explanation | None:
        """The one that is shown."""
        entry, asked = self._entry, self._asked
        key = asked.key(entry) if entry is not None and asked is not None else None
        return entry.results.get(key) if entry is not None and key is not None else None

    def _show_result(self) -> None:
        found = self.explanation
        if found is not None and found.tells_outputs_apart:
            found = replace(found, target=self.output.currentText())
        self.shown.show_explanation(self._entry, found)
        self.evaluation.show_explanation(self._entry, found)
        self.export.setVisible(found is not None)

    def _ask_where(self) -> None:
        if self._entry is None:
            return
        start = str(self._entry.slide.path.parent)
        folder = QFileDialog.getExistingDirectory(self, "Export the explanation into a folder", start)
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write to a folder of the slide's name in ``folder``."""
        entry, found = self._entry, self.shown.explanation
        if entry is None or found is None or self._exporting.running:
            return
        slide, out = entry.slide, folder / f"{entry.slide.stem} {Path(found.prediction.model).name}"
        agreement, curves = self.evaluation.agreement, self.evaluation.curves
        self.export.setEnabled(False)
        self._exporting.start(
            lambda: export_job(slide, found, agreement, curves, out), f"ZoomMIL is writing {out.name}", entry
        )

    def _export_ended(self, _failure: str | None) -> None:
        self.export.setEnabled(True)


def prepare_job(model: str, how: Mapping[str, Any]) -> Job[str]:
    """Load a model that is on this computer, and return its name.

    Raises
    ------
    ZoomMILError
        If it is not, or cannot be loaded.
    """
    find_model(model, fetch=False)
    yield from prepare_to_explain(model, **how)
    return model


def export_job(
    slide: Slide, found: Explanation, agreement: SlideAgreement | None, curves: Curves | None, out: Path
) -> Job[Path]:
    """Write what ``explain`` writes.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    yield Progress(0, 1, f"writing to {out}")
    write_explanation(slide, found, out)
    if agreement is not None:
        write_agreement(agreement, found, out)
    if curves is not None:
        write_curves(curves, found, out)
    return out
