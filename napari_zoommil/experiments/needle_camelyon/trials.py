"""Trials and presets of ``needle-camelyon``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from napari_zoommil.experiments.data.needle_camelyon import PER_LESION, RATIOS
from napari_zoommil.experiments.needle_camelyon.slides import MadeSlides
from napari_zoommil.experiments.needles.trials import POOLINGS
from napari_zoommil.experiments.pieces import as_json

LARGEST = RATIOS[0]


@dataclass(frozen=True)
class Trial:
    """A network, and the crops that it is trained on.

    Attributes
    ----------
    edge : int
        Of the crops, px.
    ratio : (float, float)
        Range of the lesions' share.
    field : int
        Receptive field, px.
    pooling : str
    width : float
    """

    edge: int = 128
    ratio: tuple[float, float] = LARGEST
    field: int = 9
    pooling: str = "max"
    width: float = 1.0

    def name(self, base: Trial) -> str:
        """``128/10-50/9/max/base``: crop, percent of lesion, receptive field, pooling, what differs."""
        special = "base" if self.width == base.width else f"w{self.width:g}"
        return f"{self.edge}/{range_of(self.ratio)}/{self.field}/{self.pooling}/{special}"


def range_of(ratio: tuple[float, float]) -> str:
    """``0.1-1``, in percent."""
    return f"{100 * ratio[0]:g}-{100 * ratio[1]:g}"


@dataclass(frozen=True)
class Extent:
    """A preset; see :class:`napari_zoommil.experiments.needles.trials.Extent` for what is not told here.

    Attributes
    ----------
    slides : MadeSlides
    per_lesion : int
        Crops drawn around each lesion.
    norm : str
    """

    base: Trial
    trials: tuple[Trial, ...]
    slides: MadeSlides
    seeds: tuple[int, ...]
    per_lesion: int = PER_LESION
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (2, 2, 2, 1)
    norm: str = "instance"
    epochs: int = 200
    learning_rate: float = 5e-5
    milestones: tuple[float, ...] = (0.4, 0.6, 0.8)
    batch: int = 32

    def pieces(self) -> dict[str, tuple[Trial, int]]:
        """Trial and seed by name, ordered by seed."""
        return {
            f"{one.name(self.base)}/{seed}": (one, seed) for seed, one in product(self.seeds, self.trials)
        }

    def described(self, trial: Trial) -> dict[str, Any]:
        """Everything that determines a training except its seed, as JSON."""
        return as_json(self, without=("base", "trials", "seeds")) | asdict(trial)


def _trials(
    base: Trial,
    edges: tuple[int, ...],
    ratios: tuple[tuple[float, float], ...],
    fields: tuple[int, ...],
    widths: tuple[float, ...],
) -> Iterator[Trial]:
    for edge, ratio in product(edges, ratios):
        own = replace(base, edge=edge, ratio=ratio)
        yield from (replace(own, field=field) for field in fields if field < edge)
        yield from (replace(own, pooling=pooling) for pooling in POOLINGS)
        yield from (replace(own, width=width) for width in widths)


_PAPER, _CPU = Trial(), Trial(ratio=RATIOS[1], width=0.125)

EXTENTS = {
    "paper": Extent(
        _PAPER,
        tuple(dict.fromkeys(_trials(_PAPER, (128, 256, 512), RATIOS, (9, 33, 177), (0.25, 0.5, 1.0, 2.0)))),
        MadeSlides(200, 16_384, 0.00002, 0.15),
        tuple(range(6)),
    ),
    "cpu": Extent(
        _CPU,
        tuple(dict.fromkeys(_trials(_CPU, (128,), RATIOS[1:], (9, 33), (0.0625, 0.125)))),
        MadeSlides(40, 8_192, 0.0001, 0.018),
        (0,),
        per_lesion=25,
        blocks=(1, 1, 1, 1),
        norm="batch",
        epochs=12,
        learning_rate=1e-3,
        milestones=(0.7, 0.9),
    ),
}
"""``paper``: crops, receptive fields, poolings, capacities, schedule and seeds of the paper. ``cpu``: crops
of 128 px and a network as in ``needle-mnist``, without lesions of more than half of a crop, since made ones
of that size hardly fit into one. Tumours are as large as the ranges need, by the logarithm of their area."""
