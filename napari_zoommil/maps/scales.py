"""What colours mean: the values of maps in a unit, and the range of it that a ramp covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.maps.heatmap import HeatMap
from napari_zoommil.maps.methods import average_of, unit_of
from napari_zoommil.models.task import LOGIT

Scaling = Literal["times", "rank", "raw"]
"""Times the average, rank among the patches of a magnification, or the values as they are."""

MOST_TIMES = 100.0
"""End of the ramp for *times the average*: the same on every slide and at every magnification."""

TIMES_TICKS = (1.0, 3.0, 10.0, 30.0, MOST_TIMES)
RANK_TICKS = (50.0, 75.0, 90.0, 100.0)
SIGNED_RANK_TICKS = (-100.0, -50.0, 0.0, 50.0, 100.0)

SIGNED_SHARE = 0.98

FAMILIARITY = "familiarity"
LIMITS = (1.0, 1.25, 2.0, 2.5)
"""Ticks of the familiarity, from the limit of the training patches on: the same on every slide."""

TIMES = "times the average"
RANK = "rank: % of its magnification with less"
SIGNED_RANK = "rank by size: % of its magnification with less"


@dataclass(frozen=True)
class Scale:
    """The range of values that a ramp covers. Values beyond it have the colour of its end.

    Attributes
    ----------
    low, high : float
        Values at the ends of the ramp; if signed, ``low`` is ``−high``.
    unit : str
    ticks : tuple of float
        Values to be written beside the ramp.
    signed : bool
        Whether zero is the neutral value.
    logarithmic : bool
    """

    low: float
    high: float
    unit: str
    ticks: tuple[float, ...]
    signed: bool = False
    logarithmic: bool = False

    def places(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Places on the ramp, 0 to 1; NaN is kept."""
        low, high, of = self.low, self.high, values
        if self.logarithmic:
            low, high, of = np.log(low), np.log(high), np.log(np.maximum(values, self.low))
        return ((np.clip(of, low, high) - low) / (high - low)).astype(np.float32)

    def label(self, tick: float) -> str:
        """``3×``, ``≥100×``, ``90 %``, ``+0.5``."""
        if self.unit == TIMES:
            return f"{'≥' if tick == self.high else '≤' if tick == self.low else ''}{tick:g}×"
        if self.unit in (RANK, SIGNED_RANK):
            return f"{abs(tick):g} %"
        if not self.signed:
            return f"{tick:.3g}".replace("-", "−")
        beyond = {self.low: "≤", self.high: "≥"}.get(tick, "")
        return f"{beyond}{tick:+.3g}".replace("-", "−") if tick else "0"


def scalings_of(kind: str) -> tuple[Scaling, ...]:
    """How a kind of map can be shown; the first is the default."""
    if average_of(kind) is not None:
        return "times", "rank", "raw"
    return "raw", "rank"


def in_unit(shown: HeatMap, scaling: Scaling) -> NDArray[np.float32]:
    """Values of a map in the unit of a scaling, NaN kept.

    Parameters
    ----------
    shown : HeatMap
    scaling : {"times", "rank", "raw"}
        ``times`` needs a kind that has an average; see :func:`scalings_of`.
    """
    if scaling == "times":
        return times_average(shown.values, softmax=average_of(shown.kind) == "softmax")
    if scaling == "rank":
        return _ranked(shown.values, shown.signed)
    return shown.values


def times_average(values: NDArray[np.float32], softmax: bool) -> NDArray[np.float32]:
    """Each value as a multiple of the average of those that are known; NaN kept.

    Parameters
    ----------
    values : array of float32
    softmax : bool
        Whether they are logits of an attention: the result is its softmax times the number of patches.
        Else they are not negative, and divided by their mean.
    """
    known = ~np.isnan(values)
    if not known.any():
        return values
    shares = np.exp(values.astype(np.float64) - values[known].max()) if softmax else values
    mean = float(shares[known].mean(dtype=np.float64))
    return (shares / mean if mean > 0 else np.where(known, 1.0, np.nan)).astype(np.float32)


def scale_of(maps: Sequence[HeatMap], scaling: Scaling, output_unit: str = LOGIT) -> Scale:
    """The scale of maps of one kind, one for all magnifications.

    Only ``raw`` depends on the values: from the least to the largest; of signed maps, from −m to m, where m
    is the size that all but 2 % of the patches stay below, rounded up, because a few patches would otherwise
    leave all others without colour.
    """
    signed = any(one.signed for one in maps)
    if scaling == "times":
        return Scale(1.0, MOST_TIMES, TIMES, TIMES_TICKS, logarithmic=True)
    if scaling == "rank":
        if signed:
            return Scale(-100.0, 100.0, SIGNED_RANK, SIGNED_RANK_TICKS, signed=True)
        return Scale(RANK_TICKS[0], 100.0, RANK, RANK_TICKS)
    if maps and maps[0].kind == FAMILIARITY:
        return Scale(1.0, LIMITS[-1], unit_of(FAMILIARITY), LIMITS)
    values = np.concatenate([np.zeros(0, np.float32), *(one.values[~np.isnan(one.values)] for one in maps)])
    unit = unit_of(maps[0].kind, output_unit) if maps else ""
    if signed:
        end = _rounded_up(float(np.quantile(np.abs(values), SIGNED_SHARE)) if len(values) else 0.0)
        return Scale(-end, end, unit, (-end, -end / 2, 0.0, end / 2, end), signed=True)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if not high > low:
        low = high - (abs(high) or 1.0)  # one value only: it has the colour of the end
    return Scale(low, high, unit, tuple(np.linspace(low, high, 5).tolist()))


def help_of(kind: str, scaling: Scaling, output_unit: str = LOGIT) -> str:
    """What a scaling shows, in a sentence."""
    if scaling == "times":
        return "Times the average of the patches looked at in the same magnification; the same on every slide"
    if scaling == "rank":
        return "Rank among the patches of a magnification: half of them are coloured on any slide"
    return (
        f"Values as they are ({unit_of(kind, output_unit)}), one range over all magnifications of this slide"
    )


def _ranked(values: NDArray[np.float32], signed: bool) -> NDArray[np.float32]:
    """% of values that are smaller (ties share their mean rank); by size, with the sign, if signed."""
    from scipy.stats import rankdata

    known = ~np.isnan(values)
    out = np.full_like(values, np.nan)
    if not known.any():
        return out
    size = np.abs(values[known]) if signed else values[known]
    ranks = 100 * (rankdata(size) - 1) / (len(size) - 1) if len(size) > 1 else np.full(1, 100.0)
    out[known] = ranks * np.sign(values[known]) if signed else ranks
    return out


def _rounded_up(size: float) -> float:
    """The next of 1, 2, 5, 10, …"""
    if not size > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(size))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= size * (1 - 1e-6)))
