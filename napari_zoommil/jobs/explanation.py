"""What ``explain`` returns: plain numbers and maps beside the prediction that they explain."""

from __future__ import annotations

from dataclasses import dataclass

from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.focus import WHOLE, Focus
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.maps.patch_scores import PatchScores


@dataclass(frozen=True, eq=False)
class Explanation:
    """A model's prediction explained by one method.

    Attributes
    ----------
    method : str
        One of :data:`napari_zoommil.maps.methods.METHODS`.
    target : str or None
        Output that was asked for; None of a method that does not tell outputs apart.
    prediction : Prediction
    scores : tuple of PatchScores
        Of patches, for each output; none of a method whose scores are part of the prediction.
    every : tuple of HeatMap
        Of all outputs, those of an output together.
    focus : Focus
        What of the prediction is explained.
    """

    method: str
    target: str | None
    prediction: Prediction
    scores: tuple[PatchScores, ...]
    every: tuple[HeatMap, ...]
    focus: Focus = WHOLE

    @property
    def maps(self) -> tuple[HeatMap, ...]:
        """Of the output that was asked for, one per magnification."""
        return tuple(one for one in self.every if self.target in (None, one.target))

    def maps_of(self, kind: str, target: str | None = None) -> tuple[HeatMap, ...]:
        """Maps of one kind (and output), one per magnification."""
        return tuple(one for one in self.every if (one.kind, one.target) == (kind, target))

    def maps_for(self, target: str) -> tuple[HeatMap, ...]:
        """Of another output, one per magnification; those that there are, if none is for an output.

        Of several heads of a model, the first one's.
        """
        own = [one for one in self.every if one.target in (None, target)] or list(self.every)
        first = own[0]
        return tuple(one for one in own if (one.kind, one.target) == (first.kind, first.target))

    @property
    def explained(self) -> str:
        """The output that is spoken of: the one that was asked for, else the predicted one."""
        return self.target or self.prediction.explained

    @property
    def shown(self) -> tuple[HeatMap, ...]:
        """Maps of :attr:`explained`, one per magnification."""
        return self.maps_for(self.explained)

    @property
    def tells_outputs_apart(self) -> bool:
        """Whether its maps are of outputs: those of a method for each, or of an attention for each."""
        return any(one.kind == self.method and one.target is not None for one in self.every)

    @property
    def says(self) -> str:
        """What the values are, and when they mislead, in a line."""
        method = METHODS[self.method]
        return f"{method.what} {method.caution}".strip()
