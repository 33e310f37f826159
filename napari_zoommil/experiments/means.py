"""Means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """Mean and standard deviation over seeds; the deviation is 0 for one seed."""

    mean: float
    sd: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), sd, len(values))

    def percent(self) -> str:
        """``92.0 ± 0.6``, in percent; no spread for one seed."""
        return f"{100 * self.mean:.1f}{self._spread()}"

    def points(self) -> str:
        """``+5.0 ± 0.6``, a difference in percentage points."""
        return f"{100 * self.mean:+.1f}{self._spread()}"

    def _spread(self) -> str:
        return f" ± {100 * self.sd:.1f}" if self.seeds > 1 else ""
