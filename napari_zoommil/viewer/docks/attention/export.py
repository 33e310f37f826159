"""*Export…*: everything about the prediction that is shown, as files in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_zoommil.jobs import Job, Progress
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.slides import Slide
from napari_zoommil.viewer.notifications import show_info
from napari_zoommil.viewer.open_slide import EXPLANATION, PREDICTION, OpenSlide
from napari_zoommil.viewer.worker import JobRunner

HELP = (
    "Write what is shown to a folder: scores of patches (CSV, GeoJSON for QuPath), maps (OME-TIFF), "
    "figures with legend and scale (PNG, SVG)"
)


class ExportResult(QPushButton):
    """Asks for a folder and writes the shown prediction of the slide and its explanations to it.

    Parameters
    ----------
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    """

    def __init__(self, runner: Callable[..., JobRunner]) -> None:
        super().__init__("Export…")
        self._entry: OpenSlide | None = None
        self._runner = runner(lambda _: None, self._written, lambda _: self.show_slide(self._entry))
        self.setToolTip(HELP)
        self.clicked.connect(self._ask_where)

    def show_slide(self, entry: OpenSlide | None) -> None:
        """Offer to export the prediction of a slide that is shown."""
        self._entry = entry
        self.setVisible(entry is not None and entry.prediction is not None)
        self.setEnabled(not self._runner.running)
        self.setText("Exporting…" if self._runner.running else "Export…")

    def _ask_where(self) -> None:
        if self._entry is None:
            return
        start = str(self._entry.slide.path.parent)
        folder = QFileDialog.getExistingDirectory(self, "Export the result into a folder", start)
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write to a folder of the slide's name in ``folder``; files of an earlier export are replaced."""
        entry = self._entry
        if entry is None or entry.prediction is None or self._runner.running:
            return
        shown, prediction, slide = entry.shown(PREDICTION), entry.prediction, entry.slide
        own = [entry.results[key] for key in entry.keys(EXPLANATION) if key.prediction == shown]
        out = folder / f"{slide.stem} {Path(prediction.model).name}"
        self._runner.start(
            lambda: export_job(slide, prediction, own, out), f"ZoomMIL is writing {out.name}", entry
        )
        self.show_slide(entry)

    def _written(self, folder: Path) -> None:
        show_info(f"The result is in {folder}")


def export_job(slide: Slide, prediction: Prediction, explanations: list[Explanation], out: Path) -> Job[Path]:
    """Write what ``predict`` and ``explain`` write.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    from napari_zoommil.jobs.prediction_files import write_explanation, write_prediction

    yield Progress(0, 1 + len(explanations), f"writing to {out}")
    write_prediction(slide, prediction, out)
    for number, one in enumerate(explanations, 1):
        yield Progress(number, 1 + len(explanations), f"writing to {out}")
        write_explanation(slide, one, out)
    return out
