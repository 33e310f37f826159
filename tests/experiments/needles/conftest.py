"""A preset of needle-MNIST that trains in a second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_zoommil.experiments.data.needle_mnist import Canvas
from napari_zoommil.experiments.needles import trials
from napari_zoommil.experiments.needles.trials import Extent, Trial

BASE = Trial(Canvas(18, 1, 9), 9, width=1 / 16, train=64)

TINY = Extent(
    BASE,
    (
        (BASE, (0, 1)),
        (replace(BASE, field=5), (0,)),
        (replace(BASE, pooling="mean"), (0,)),
        (replace(BASE, train=32), (0,)),
        (replace(BASE, width=1 / 32), (0,)),
        (replace(BASE, canvas=Canvas(27, 2, 9)), (0,)),
        (replace(BASE, canvas=Canvas(18, 1, 9, "gaussian")), (0,)),
    ),
    blocks=(1, 1, 1, 1),
    strides=(2, 2, 1, 1),
    epochs=2,
    learning_rate=1e-3,
    val=20,
    test=24,
    batch=16,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Extent:
    monkeypatch.setitem(trials.EXTENTS, "cpu", TINY)
    monkeypatch.setattr("napari_zoommil.experiments.run_pieces.processes", lambda _: 1)
    return TINY
