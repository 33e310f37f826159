"""Curves of deletion and insertion as numbers; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEAST = 0.01
"""Share of the axis by which an output must move, and an area differ, to count."""

CHANCE = 0.05
"""How often a map of random values may be called better than random orders."""

DRAWS = 19
"""Random orders by default: the fewest of which :data:`CHANCE` is better than all others."""


@dataclass(frozen=True, eq=False)
class Curves:
    """What an output does while what a map ranks first is taken away, or given alone.

    Attributes
    ----------
    method, target : str
    magnification : float
    shares : (S,) float
        Of the patches, or boxes, that are taken away, or given; from 0 to 1.
    deletion, insertion : (S,) float
        The output in the order of the map. Where none would be left, one patch is.
    random_deletion, random_insertion : (R, S) float
        In random orders.
    unknown : int
        Patches, or boxes, of which the map says nothing: they are never taken away, in no order.
    """

    method: str
    target: str
    magnification: float
    shares: Values
    deletion: Values
    insertion: Values
    random_deletion: Values
    random_insertion: Values
    unknown: int = 0

    def area(self, curve: Values) -> float:
        """Under a curve, over the share: between the least and the largest output."""
        return float(np.trapezoid(curve, self.shares))

    @property
    def areas(self) -> dict[str, float]:
        """Of deletion (small is good) and insertion (large is good), and the means of random orders."""
        return {
            "deletion": self.area(self.deletion),
            "deletion_random": float(np.mean([self.area(one) for one in self.random_deletion])),
            "insertion": self.area(self.insertion),
            "insertion_random": float(np.mean([self.area(one) for one in self.random_insertion])),
        }

    @property
    def limits(self) -> tuple[float, float]:
        """Of an axis of outputs: 0 to 1 if they may be probabilities, else their own range."""
        every = (self.deletion, self.insertion, self.random_deletion, self.random_insertion)
        low, high = min(float(one.min()) for one in every), max(float(one.max()) for one in every)
        return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)

    @property
    def is_better(self) -> tuple[bool, bool]:
        """Whether the map's order is better than the random ones, by deletion and insertion.

        Its area differs from their mean, and hardly any of theirs is as good: none of 19, for the map of
        random values would be one of twenty.
        """
        areas, (low, high), as_good = self.areas, self.limits, self.as_good
        least = LEAST * (high - low)
        return (
            areas["deletion"] < areas["deletion_random"] - least and as_good[0] <= self._allowed,
            areas["insertion"] > areas["insertion_random"] + least and as_good[1] <= self._allowed,
        )

    @property
    def as_good(self) -> tuple[int, int]:
        """How many random orders are as good as the map's or better, by deletion and insertion."""
        deletion, insertion = self.area(self.deletion), self.area(self.insertion)
        fallen = np.trapezoid(self.random_deletion, self.shares)
        risen = np.trapezoid(self.random_insertion, self.shares)
        return int((fallen <= deletion).sum()), int((risen >= insertion).sum())

    @property
    def _allowed(self) -> int:
        """Of the random orders, how many may be as good; none, if there are too few to know."""
        return max(int(CHANCE * (len(self.random_deletion) + 1) + 1e-9) - 1, 0)

    @property
    def _beaten(self) -> str:
        """``all 19 random orders``."""
        draws, allowed = len(self.random_deletion), self._allowed
        return f"{draws - allowed} of {draws} random orders" if allowed else f"all {draws} random orders"

    @property
    def moves(self) -> bool:
        """Whether the output changes at all, by more than a hundredth of its axis."""
        every = (self.deletion, self.insertion, self.random_deletion, self.random_insertion)
        change = max(float(one.max()) for one in every) - min(float(one.min()) for one in every)
        low, high = self.limits
        return change > LEAST * (high - low)

    @property
    def verdict(self) -> str:
        """In a sentence."""
        if not self.moves:
            return "The output stays as it is, whatever is taken away: this says nothing of the map"
        draws, beaten = len(self.random_deletion), self._beaten
        told = {
            (True, True): f"The output follows this map: it falls and rises sooner than in {beaten}",
            (True, False): f"The output falls sooner than in {beaten}, but does not rise sooner",
            (False, True): f"The output rises sooner than in {beaten}, but does not fall sooner",
            (False, False): f"This map cannot be told from {draws} random orders",
        }
        few = (
            f"; {draws} are few, {DRAWS} tell it from chance" if any(self.is_better) and draws < DRAWS else ""
        )
        return told[self.is_better] + few

    @property
    def in_short(self) -> str:
        """``deletion 0.31, random 0.55; insertion 0.81, random 0.70``."""
        areas = self.areas
        told = "; ".join(
            f"{way} {areas[way]:.2f}, random {areas[f'{way}_random']:.2f}"
            for way in ("deletion", "insertion")
        )
        stay = (
            f"; {self.unknown:,} of which the map says nothing are never taken away" if self.unknown else ""
        )
        return told + stay

    @property
    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "method": self.method,
            "target": self.target,
            "magnification": self.magnification,
            "shares": self.shares.tolist(),
            "deletion": self.deletion.tolist(),
            "insertion": self.insertion.tolist(),
            "random_deletion": self.random_deletion.tolist(),
            "random_insertion": self.random_insertion.tolist(),
            "areas": self.areas,
            "random_orders": len(self.random_deletion),
            "random_orders_as_good": dict(zip(("deletion", "insertion"), self.as_good, strict=True)),
            "never_taken_away": self.unknown,
            "verdict": self.verdict,
        }
