"""Weights between those before and after a fine-tuning (Wortsman et al. 2022, WiSE-FT)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]


def share_of_training(annotated: int, trust: int) -> float:
    """Share of the new weights: n / (n + ``trust``) for n annotated cells."""
    return annotated / (annotated + trust) if annotated else 1.0


def averaged(before: Weights, after: Weights, share: float) -> dict[str, Tensor]:
    """``before + share · (after − before)`` of each floating-point tensor; counters are those after.

    Few annotated cells move a network further than they justify: what it knew of other cells gets lost.
    Between the two sets of weights, which a short training does not take far apart, networks have most of
    what either knows.

    Parameters
    ----------
    before, after : dict of str to Tensor
        With the same names and shapes.
    share : float
        0 to 1.
    """
    return {
        name: before[name].to(new) + share * (new - before[name].to(new)) if new.is_floating_point() else new
        for name, new in after.items()
    }
