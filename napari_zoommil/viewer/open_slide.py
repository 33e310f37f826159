"""A slide that is open in a viewer, with its annotations and results."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

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
from napari_zoommil.viewer.layers.annotations import AnnotationLayers

PREDICTION, EXPLANATION, DETECTION = "prediction", "explanation", "detection"


@dataclass(frozen=True)
class ResultKey:
    """What a result is of: its kind, the model it comes from, and which one of several.

    Attributes
    ----------
    kind : str
        Such as ``prediction`` or ``detection``.
    model : str
        As a job takes it.
    variant : str
        Tells apart several results of the same kind and model, such as the method of an explanation.
    """

    kind: str
    model: str
    variant: str = ""


@dataclass(eq=False)
class OpenSlide:
    """A slide in the viewer with what was found out about it.

    Attributes
    ----------
    slide : Slide
    layer : Layer
    generation : int
        Raised whenever the slide's pixels, resolution or place become other ones, and when it is removed:
        what was computed of an earlier generation does not count.
    results : dict of ResultKey to result
        The latest last.
    detected, tissue : Tissue or None
        The tissue found automatically, and the same with the user's regions applied.
    document : Autosave or None
        Its annotations; None as long as they are being read, and where they cannot be.
    annotations : AnnotationLayers or None
        The layers of the document; None as long as there is nothing in it.
    threshold : float
        Score from which the cells of ``detection`` count.
    alive : bool
        Whether its layer is still there.
    """

    outdated: ClassVar[Signal] = Signal()
    """There is another generation: what runs on the old one must stop."""

    slide: Slide
    layer: Layer
    generation: int = 0
    results: dict[ResultKey, Any] = field(default_factory=dict)
    detected: Tissue | None = None
    tissue: Tissue | None = None
    document: Autosave | None = None
    annotations: AnnotationLayers | None = None
    threshold: float = 0.5
    alive: bool = True

    @cached_property
    def overview(self) -> NDArray[np.uint8]:
        """The coarsest level, (h, w, 3)."""
        return np.asarray(self.layer.data[-1])

    def latest(self, kind: str) -> Any:
        """The latest result of a kind, or None."""
        return next((self.results[key] for key in reversed(self.results) if key.kind == kind), None)

    @property
    def prediction(self) -> Prediction | None:
        """The latest prediction."""
        return self.latest(PREDICTION)

    def explanation(self, method: str) -> Explanation | None:
        """What a method makes of the latest prediction, if that was computed."""
        model = self.prediction.model if self.prediction else ""
        return self.results.get(ResultKey(EXPLANATION, model, method))

    @property
    def detection(self) -> Detection | None:
        """The cells found last."""
        return self.latest(DETECTION)

    def outdate(self) -> None:
        """Begin another generation: nothing that was computed counts any more."""
        self.generation += 1
        self.results.clear()
        self.detected = self.tissue = None
        self.__dict__.pop("overview", None)
        self.outdated.emit()
