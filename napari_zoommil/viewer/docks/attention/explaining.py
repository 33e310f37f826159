"""Methods that are computed when they are chosen, for the prediction that is shown."""

from __future__ import annotations

from collections.abc import Callable

from napari_zoommil.jobs import Progress, explain
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.viewer.docks.parts import Act
from napari_zoommil.viewer.open_slide import PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.reading import Reading
from napari_zoommil.viewer.session import Session
from napari_zoommil.viewer.worker import JobRunner


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
        self._key: ResultKey | None = None
        self.runner = runner(self._progress, self._explained, self._ended)

    def explain(self, entry: OpenSlide, method: str, encoder_of: Callable[[str], str | None]) -> None:
        """Begin to compute a method for a slide's prediction, in place of another one.

        Parameters
        ----------
        encoder_of : callable
            The encoder that the user named for a model, for a prediction that was not made here.
        """
        prediction, shown, slide = entry.prediction, entry.shown(PREDICTION), entry.slide
        if prediction is None or shown is None:
            return
        key, model = shown.explained_by(method), prediction.model
        if self.runner.of is entry and self._key == key:
            return
        self.runner.abandon()
        reading: Reading | None = entry.readings.get(prediction)
        if reading is None:
            self._act.note.setText(
                "It is not known how the slide was read for this result, which an earlier version made: run "
                "the model again to explain it"
            )
            return self._failed()
        self._key = key
        options = reading.options() | {"encoder": reading.encoder or encoder_of(model)}
        self._act.show_running(True, f"Stop explaining {slide.name}")
        self.runner.start(
            lambda: explain(slide, model, method=method, **options),  # type: ignore[arg-type]
            f"ZoomMIL is explaining {slide.name}",
            entry,
        )

    def _progress(self, progress: Progress) -> None:
        entry = self.runner.of
        self._act.show_progress(progress, "" if entry is self._session.active else entry.slide.name)

    def _explained(self, found: Explanation) -> None:
        entry, key = self.runner.of, self._key
        assert key is not None
        of = entry.results.get(key.prediction)
        if of is None or not found.prediction.is_of_the_patches_of(of):
            self._act.note.setText(
                "The tissue or the settings have changed since the prediction: run the model again"
            )
            return self._failed()
        self._act.note.setText(f"{METHODS[found.method].title} of {entry.slide.name}")
        self._session.keep(entry, key, found)

    def _ended(self, failure: str | None) -> None:
        self._act.show_running(False)
        if not self.runner.done:
            self._act.note.setText(failure or "Cancelled")
            self._failed()
