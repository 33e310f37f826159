"""A preset of nic-rectangles that runs in seconds."""

from __future__ import annotations

import pytest

from napari_zoommil.experiments.data.rectangles import Plan
from napari_zoommil.experiments.nic_rectangles import trials
from napari_zoommil.experiments.nic_rectangles.trials import ORACLE, UNSUPERVISED, Extent, Network, Trial

TINY = Extent(
    plan=Plan(144, 0.004, 40, 90, 0.3, aligned=True),
    network=Network(8, (2, 2, 1), "same", 0.0, "one-cycle", 5e-3, 1e-4, 16, 2),
    steps=dict.fromkeys((ORACLE, *UNSUPERVISED), 6),
    patches=30,
    images={"encoder": 14, "train": 40, "val": 20, "test": 30},
    trials=(Trial(), Trial("mean", 1)),
    seeds=(0, 1),
    tuned=3,
    explained=6,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Extent:
    monkeypatch.setitem(trials.EXTENTS, "cpu", TINY)
    monkeypatch.setattr("napari_zoommil.experiments.run_pieces.processes", lambda _: 1)
    monkeypatch.setattr("napari_zoommil.experiments.nic_rectangles.encoding.PROBED", 300)
    return TINY
