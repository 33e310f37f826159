"""Methods that are computed when they are chosen, for the prediction that is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from napari_zoommil.jobs import Progress, explain
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.docks.parts import Act
from napari_zoommil.viewer.open_slide import EXPLANATION, OpenSlide, ResultKey
from napari_zoommil.viewer.session import Session
from napari_zoommil.viewer.settings import compute_settings
from napari_zoommil.viewer.worker import JobRunner, spare_cores


@dataclass(frozen=True)
class Reading:
    """How a slide is read for a prediction, and again to explain it."""

    tissue: Tissue | None
    encoder: str | None

    def options(self) -> dict[str, Any]:
        """Arguments of the jobs."""
        chosen = compute_settings()
        return {
            "encoder": self.encoder,
            "tissue": self.tissue,
            "device": chosen.device,
            "batch_size": chosen.batch_size,
            "threads": spare_cores(),
            "workers": spare_cores(),
        }


class Explainer:
    """Computes one method at a time, and keeps what it finds in the session.

    Parameters
    ----------
    session : Session
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    act : Act
        Where progress is shown.
    failed : callable
        Called where a method could not be computed.
    """

    def __init__(
        self, session: Session, runner: Callable[..., JobRunner], act: Act, failed: Callable[[], None]
    ) -> None:
        self._session, self._act, self._failed = session, act, failed
        self._readings: WeakKeyDictionary[Prediction, Reading] = WeakKeyDictionary()
        self._method = ""
        self.runner = runner(self._progress, self._explained, self._ended)

    def remember(self, entry: OpenSlide, prediction: Prediction, reading: Reading) -> None:
        """There is a new prediction: it is explained as it was read, and what explained earlier ones goes."""
        self._readings[prediction] = reading
        self._session.forget(entry, EXPLANATION)

    def explain(self, entry: OpenSlide, method: str) -> None:
        """Begin to compute a method for a slide's prediction, in place of another one."""
        prediction, slide = entry.prediction, entry.slide
        if prediction is None or (self.runner.of is entry and self._method == method):
            return
        self.runner.abandon()
        reading = self._readings.get(prediction) or Reading(entry.tissue, None)
        options, model, self._method = reading.options(), prediction.model, method
        self._act.show_running(True, f"Stop explaining {slide.name}")
        self.runner.start(
            lambda: explain(slide, model, method=method, **options),  # type: ignore[arg-type]
            f"ZoomMIL is explaining {slide.name}",
            entry,
        )

    def _progress(self, progress: Progress) -> None:
        self._act.show_progress(progress, self.runner.of.slide.name)

    def _explained(self, found: Explanation) -> None:
        entry = self.runner.of
        self._act.note.setText(f"{METHODS[found.method].title} of {entry.slide.name}")
        self._session.keep(entry, ResultKey(EXPLANATION, found.prediction.model, found.method), found)

    def _ended(self, failure: str | None) -> None:
        self._act.show_running(False)
        if not self.runner.done:
            self._act.note.setText(failure or "Cancelled")
            self._failed()
