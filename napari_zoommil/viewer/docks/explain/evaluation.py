"""Whether a map agrees with the regions of the slide, and whether the output follows it."""

from __future__ import annotations

from collections.abc import Callable

from napari.utils.theme import get_theme
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QLabel, QWidget

from napari_zoommil.annotations.feature import Feature
from napari_zoommil.jobs import Job, Progress, faithfulness
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.map_agreement import SlideAgreement, slide_agreement
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.prediction_files import overview_of
from napari_zoommil.maps.curves import Curves
from napari_zoommil.viewer.docks.explain.plot import CurvesPlot
from napari_zoommil.viewer.docks.explaining import read_again
from napari_zoommil.viewer.docks.parts import Act, Sentence, heading, row, stack
from napari_zoommil.viewer.open_slide import OpenSlide
from napari_zoommil.viewer.worker import JobRunner

NO_REGIONS = "Draw regions in the Annotate dock, or import them, to compare the map with them"
TEST = "Deletion and insertion in the order of the map, beside random orders"
OF_A_PATCH = "A patch alone is not compared: explain all that was read, or the window"


class Evaluation(QWidget):
    """Agreement and faithfulness of the explanation that is shown.

    Parameters
    ----------
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    encoder_of : callable
        The encoder that the user named for a model.
    """

    def __init__(self, runner: Callable[..., JobRunner], encoder_of: Callable[[str], str | None]) -> None:
        super().__init__()
        self._encoder_of = encoder_of
        self._entry: OpenSlide | None = None
        self._explanation: Explanation | None = None
        self.agreement: SlideAgreement | None = None
        self.curves: Curves | None = None
        self._comparing = runner(lambda _: None, self._compared, self._compare_ended, quiet=True)
        self._testing = runner(self._test_progress, self._tested, self._test_ended)
        self.regions = QComboBox()
        self.regions.setToolTip("Class of the regions that the map is compared with")
        self.regions.currentIndexChanged.connect(lambda _: self._compare())
        self._of = row(QLabel("Regions"), self.regions, stretch=1)
        self.told = Sentence(name="explain-agreement")
        self.act = Act("Test faithfulness", self._test, self._testing.cancel)
        self.plot = CurvesPlot()
        stack(
            self,
            heading("Agreement with regions"),
            self._of,
            self.told,
            heading("Faithfulness"),
            self.act,
            self.plot,
        )
        self.hide()

    def set_theme(self, name: str) -> None:
        theme = get_theme(name)
        self.plot.set_colours(theme.text.as_hex(), theme.background.as_hex())

    def show_explanation(self, entry: OpenSlide | None, explanation: Explanation | None) -> None:
        """Evaluate another explanation; what was said of the last one goes."""
        self._comparing.abandon()
        self._testing.abandon()
        self._entry, self._explanation = entry, explanation
        self.agreement = self.curves = None
        self.plot.show_curves(None)
        self.act.show_running(False)
        self.act.note.setText(
            "Patches are taken away in the order of the map, and given alone: does the output follow?"
        )
        self.setVisible(explanation is not None)
        inside = explanation is not None and explanation.focus.at is not None
        self.act.set_ready(
            not inside, OF_A_PATCH if inside else "Deletion and insertion beside random orders"
        )
        self.offer_regions()

    def offer_regions(self) -> None:
        """List the classes of the slide's regions, and compare."""
        names = tuple(dict.fromkeys(one.class_name for one in self._regions()))
        with QSignalBlocker(self.regions):
            before = self.regions.currentData()
            self.regions.clear()
            for name in names:
                self.regions.addItem(name or "without class", name)
            self.regions.setCurrentIndex(max(0, names.index(before) if before in names else 0))
        self._of.setVisible(bool(names))
        self._compare()

    def _regions(self) -> list[Feature]:
        document = self._entry.document if self._entry is not None else None
        return list(document.points.regions.values()) if document is not None else []

    def _compare(self) -> None:
        self._comparing.abandon()
        self.agreement = None
        entry, found, name = self._entry, self._explanation, self.regions.currentData()
        if entry is None or found is None:
            return
        if found.focus.at is not None:
            return self.told.setText(OF_A_PATCH)
        if name is None:
            return self.told.setText(NO_REGIONS)
        polygons = tuple(p for one in self._regions() if one.class_name == name for p in one.polygons)
        slide = entry.slide

        def job() -> Job[SlideAgreement]:
            yield Progress(0, 1, "comparing")
            with slide.reopen() as own:
                overview = overview_of(own)
            return slide_agreement(found, polygons, class_name=name, overview=overview)

        self.told.setText("Comparing …")
        self._comparing.start(job, "", entry)

    def _compared(self, found: SlideAgreement) -> None:
        self.agreement = found
        sentence = found.sentence
        self.told.setText(sentence[:1].upper() + sentence[1:])

    def _compare_ended(self, failure: str | None) -> None:
        if failure is not None:
            self.told.setText(failure)

    def _test(self) -> None:
        entry, found = self._entry, self._explanation
        if entry is None or found is None:
            return
        slide = entry.slide
        known, again = fields(faithfulness), read_again(entry, found.prediction, self._encoder_of)
        options = {name: value for name, value in again.items() if name in known}
        self.act.show_running(True, f"Stop testing on {slide.name}")
        self._testing.start(
            lambda: faithfulness(slide, found, **options), f"ZoomMIL is testing a map of {slide.name}", entry
        )

    def _test_progress(self, progress: Progress) -> None:
        self.act.show_progress(progress)

    def _tested(self, curves: Curves) -> None:
        self.curves = curves
        self.plot.show_curves(curves)
        self.act.note.setText(f"{curves.verdict}. Areas: {curves.in_short} (grey)")

    def _test_ended(self, failure: str | None) -> None:
        self.act.show_running(False)
        if not self._testing.done:
            self.act.note.setText(failure or "Cancelled")
