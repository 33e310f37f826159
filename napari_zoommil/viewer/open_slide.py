"""A slide in a viewer, with its annotations and results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray
from psygnal import Signal

from napari_zoommil.annotations import Autosave
from napari_zoommil.jobs.detect import Detection
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.viewer.camera import View
from napari_zoommil.viewer.layers.annotations import AnnotationLayers

PREDICTION, EXPLANATION, DETECTION = "prediction", "explanation", "detection"


@dataclass(frozen=True)
class ResultKey:
    """Identity of a result.

    Attributes
    ----------
    kind : str
        Such as ``prediction`` or ``detection``.
    model : str
        Name of the model for a job.
    variant : str
        Distinguishes results of the same run, such as the method of an explanation.
    made : float
        When the run began, seconds since 1970; an explanation has that of its prediction.
    where : str
        What of the slide was read, for the user.
    """

    kind: str
    model: str
    variant: str = ""
    made: float = 0.0
    where: str = ""

    def explained_by(self, method: str) -> ResultKey:
        """Key of the explanation of this prediction by a method."""
        return replace(self, kind=EXPLANATION, variant=method)

    @property
    def prediction(self) -> ResultKey:
        """Key of the prediction that this explanation is of."""
        return replace(self, kind=PREDICTION, variant="")


@dataclass(eq=False)
class OpenSlide:
    """A slide in the viewer with its annotations and results.

    Attributes
    ----------
    slide : Slide
    layer : Layer
    generation : int
        Incremented when the slide's pixels, resolution or position change, and when it is removed; results
        of an earlier generation are invalid.
    results : dict of ResultKey to result
    chosen : dict of str to ResultKey
        The result of each kind that the user went back to; the latest of the other kinds.
    readings : mapping of Prediction
        How the slide was read for each prediction, so that it is explained as it was made.
    tissue : Tissue or None
        As the chosen model's detector finds it, with the user's regions applied.
    document : Autosave or None
        Its annotations; None while they are being read, or if they cannot be read.
    annotations : AnnotationLayers or None
        The layers of the document; None if it is empty.
    thresholds : dict of ResultKey to float
        Least score of the cells that count, of detections for which the user has set one.
    view : View or None
        What of it was in view when another slide was chosen; None if it was not shown yet.
    alive : bool
        Whether its layer is still in the viewer.
    """

    outdated: ClassVar[Signal] = Signal()
    """A new generation: jobs on the old one must stop."""

    slide: Slide
    layer: Layer
    generation: int = 0
    results: dict[ResultKey, Any] = field(default_factory=dict)
    chosen: dict[str, ResultKey] = field(default_factory=dict)
    readings: WeakKeyDictionary[Prediction, Any] = field(default_factory=WeakKeyDictionary)
    tissue: Tissue | None = None
    document: Autosave | None = None
    annotations: AnnotationLayers | None = None
    thresholds: dict[ResultKey, float] = field(default_factory=dict)
    view: View | None = None
    alive: bool = True

    @cached_property
    def overview(self) -> NDArray[np.uint8]:
        """The coarsest level, (h, w, 3)."""
        return np.asarray(self.layer.data[-1])

    @property
    def has_jobs(self) -> bool:
        """Whether jobs on it are running: they are what follows :attr:`outdated`."""
        return len(self.outdated) > 0

    def keys(self, kind: str) -> tuple[ResultKey, ...]:
        """The results of a kind, the latest first."""
        own = [key for key in reversed(self.results) if key.kind == kind]
        return tuple(sorted(own, key=lambda key: -key.made))

    def shown(self, kind: str) -> ResultKey | None:
        """The result of a kind that is shown, or None."""
        chosen = self.chosen.get(kind)
        return chosen if chosen in self.results else next(iter(self.keys(kind)), None)

    def result(self, kind: str) -> Any:
        """The result of a kind that is shown, or None."""
        key = self.shown(kind)
        return None if key is None else self.results[key]

    @property
    def prediction(self) -> Prediction | None:
        """The prediction that is shown."""
        return self.result(PREDICTION)

    def explanation(self, method: str) -> Explanation | None:
        """The explanation of the shown prediction by a method, if it was computed."""
        key = self.shown(PREDICTION)
        return None if key is None else self.results.get(key.explained_by(method))

    @property
    def detection(self) -> Detection | None:
        """The detection of cells that is shown."""
        return self.result(DETECTION)

    @property
    def threshold(self) -> float:
        """Least score of the cells of :attr:`detection` that count; by default that of its model."""
        key = self.shown(DETECTION)
        return 1.0 if key is None else self.thresholds.get(key, self.results[key].threshold)

    @threshold.setter
    def threshold(self, value: float) -> None:
        if (key := self.shown(DETECTION)) is not None:
            self.thresholds[key] = value

    def outdate(self) -> None:
        """Start a new generation: all results are invalid."""
        self.generation += 1
        self.results.clear()
        self.chosen.clear()
        self.thresholds.clear()
        self.tissue = None
        self.__dict__.pop("overview", None)
        self.outdated.emit()
