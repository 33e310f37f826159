"""The one controller of explanations in the window: docks ask it, and results are kept in the session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from napari_zoommil.jobs import Progress, explain
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps.focus import PLAIN, WHOLE, Focus, MethodOptions
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.viewer.docks.parts import Act
from napari_zoommil.viewer.open_slide import PREDICTION, OpenSlide, ResultKey
from napari_zoommil.viewer.reading import Reading
from napari_zoommil.viewer.session import Session
from napari_zoommil.viewer.worker import JobRunner


@dataclass(frozen=True)
class Asked:
    """A method, and what of a prediction it is to explain."""

    method: str
    focus: Focus = WHOLE
    options: MethodOptions = PLAIN

    @property
    def variant(self) -> str:
        """Distinguishes it from what else is asked of a prediction: the method's name, if nothing is set."""
        set_ = {**_changed(self.focus, WHOLE), **_changed(self.options, PLAIN)}
        return " ".join([self.method, *(f"{name}={value}" for name, value in set_.items())])

    def key(self, entry: OpenSlide) -> ResultKey | None:
        """Of its result on the prediction that is shown; places in one patch have the same."""
        shown, prediction = entry.shown(PREDICTION), entry.prediction
        if shown is None or prediction is None:
            return None
        asked = ((step.level, step.rows) for step in prediction.steps)
        patch = self.focus.patch_of(prediction.grid, asked)
        if patch is None:
            return shown.explained_by(self.variant)
        whole = replace(self, focus=WHOLE).variant
        return shown.explained_by(f"{whole} patch={patch[0]},{patch[1]}")


def _changed(one: Focus | MethodOptions, default: Focus | MethodOptions) -> dict[str, object]:
    plain = asdict(default)
    return {name: value for name, value in asdict(one).items() if value != plain[name]}


def read_again(
    entry: OpenSlide, prediction: Prediction, encoder_of: Callable[[str], str | None]
) -> dict[str, Any]:
    """Options of a job that reads the patches of a prediction again, whatever the controls say now.

    Parameters
    ----------
    encoder_of : callable
        The encoder that the user named for a model, for a prediction that was not made here.
    """
    reading = entry.readings.get(prediction) or Reading(None, None, {})
    encoder = reading.encoder or encoder_of(prediction.model)
    return reading.options() | {"encoder": encoder, "tissue": None, "regions": ()}


class Explainer:
    """Computes one explanation at a time, and keeps what it finds in the session.

    Parameters
    ----------
    session : Session
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    act : Act
        Where progress is shown.
    failed : callable
        Called where it could not be computed.
    """

    def __init__(
        self, session: Session, runner: Callable[..., JobRunner], act: Act, failed: Callable[[], None]
    ) -> None:
        self._session, self._act, self._failed = session, act, failed
        self._key: ResultKey | None = None
        self.runner = runner(self._progress, self._explained, self._ended)

    def explain(self, entry: OpenSlide, asked: Asked, encoder_of: Callable[[str], str | None]) -> None:
        """Begin to explain the prediction that is shown, in place of what is being computed.

        Its patches are read again, see :func:`read_again`: neither tissue nor regions are looked for.
        """
        prediction, key, slide = entry.prediction, asked.key(entry), entry.slide
        if prediction is None or key is None or (self.runner.of is entry and self._key == key):
            return
        self.runner.abandon()
        self._key = key
        options = read_again(entry, prediction, encoder_of)
        self._act.show_running(True, f"Stop explaining {slide.name}")
        self.runner.start(
            lambda: explain(
                slide,
                prediction.model,
                method=asked.method,  # type: ignore[arg-type]
                focus=asked.focus,
                method_options=asked.options,
                prediction=prediction,
                **options,
            ),
            f"ZoomMIL is explaining {slide.name}",
            entry,
        )

    def _progress(self, progress: Progress) -> None:
        entry = self.runner.of
        self._act.show_progress(progress, "" if entry is self._session.active else entry.slide.name)

    def _explained(self, found: Explanation) -> None:
        entry, key = self.runner.of, self._key
        assert key is not None
        if key.prediction in entry.results:  # else it was removed meanwhile
            self._act.note.setText(f"{METHODS[found.method].title} of {entry.slide.name}")
            self._session.keep(entry, key, found)

    def _ended(self, failure: str | None) -> None:
        self._key = None
        self._act.show_running(False)
        if not self.runner.done:
            self._act.note.setText(failure or "Cancelled")
            self._failed()
