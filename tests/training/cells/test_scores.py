from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.windows import Window, plan_windows, window_of_instances
from napari_zoommil.slides import Slide
from napari_zoommil.training.cells.scores import finds_in_window, finds_in_windows, measured
from napari_zoommil.training.fit import Stage

RIM = 92


def score(network: torch.nn.Module, spec: CellSpec, windows: Sequence[Window]) -> dict[str, float]:
    return measured([finds_in_window(network, spec, window) for window in windows], spec)


class Perfect(torch.nn.Module):
    """A U-Net that knows that cells are dark."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (0.5 - images[:, :1]) * 40 + self.weight


def test_scores_of_a_perfect_model() -> None:
    instances = np.zeros((96, 96), np.uint16)
    instances[10:18, 10:18], instances[40:48, 60:68] = 1, 2
    image = np.where(instances[..., None] > 0, 80, 220).astype(np.uint8).repeat(3, 2)
    spec = CellSpec("unet", {}, 1.0, (CellClass("cell", (0, 0, 0), 8.0),))
    half = window_of_instances(image, instances, keep=[1])
    values = score(Perfect(), spec, [half])
    bounds = {"exclusive_recall/low": pytest.approx(0.2065, abs=1e-4), "exclusive_recall/high": 1.0}
    dense = {"predictions_per_mm2": pytest.approx(2 / 96**2 * 1e6)}
    assert values == {"exclusive_recall": 1.0, "exclusive_recall/cells": 1.0, **bounds, **dense}
    known = window_of_instances(image, instances, keep=[1], complete=True)
    assert score(Perfect(), spec, [known])["f1_complete"] == pytest.approx(2 / 3)
    assert score(Perfect(), spec, []) == {}


def test_models_are_scored_alike_whether_they_know_the_classes_or_not() -> None:
    class TwoKinds(Perfect):
        """Takes each cell for the second class."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            cell = super().forward(images)
            return torch.cat([-cell, cell - 9, cell], 1)

    instances = np.zeros((96, 96), np.uint16)
    instances[10:18, 10:18], instances[40:48, 60:68] = 1, 2
    image = np.where(instances[..., None] > 0, 80, 220).astype(np.uint8).repeat(3, 2)
    kinds = tuple(CellClass(name, (0, 0, 0), 8.0) for name in ("first", "second"))
    spec = CellSpec("unet", {}, 1.0, kinds)
    window = window_of_instances(image, instances)
    for labels, first, second in (([2, 2], 1.0, 1.0), ([1, 2], 0.0, 1.0), ([1, 1], 0.0, 1.0)):
        marked = replace(window, labels=np.array(labels), complete=np.ones_like(window.complete))
        values = score(TwoKinds(), spec, [marked])
        assert values["exclusive_recall"] == values["f1_complete"] == 1.0, "of any class"
        assert values["exclusive_recall:first"] == (first if 1 in labels else 1.0)
        assert values["exclusive_recall:second"] == second
        assert values["exclusive_recall:first/cells"] == labels.count(1)
        found = finds_in_window(TwoKinds(), spec, marked)
        assert not [name for name in measured([found], spec, by_class=False) if ":" in name]


class Unpadded(Perfect):
    """Says nothing of the rim of its input."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images)[..., RIM:-RIM, RIM:-RIM]


def test_what_an_unpadded_model_cannot_see_does_not_count(discs: tuple[Path, np.ndarray]) -> None:
    points = Points(classes=[CellClass("disc", (0, 0, 0), 10.0)])
    points.add(discs[1], 1)
    points.add_complete([(250, 250), (250, 550), (450, 550), (450, 250)])
    with Slide.open(discs[0]) as slide:
        plan = plan_windows(points, slide.shape, slide.resolution(), 0.5, 160 + 2 * RIM, RIM)
        windows = list(plan.read(slide))
    spec = CellSpec("unet", {}, 0.5, points.classes)
    found = [finds_in_window(Unpadded(), spec, window) for window in windows]
    assert all(one.window.shape == (160, 160) and len(one.window.boxes) for one in found)
    values = measured(found, spec)
    assert values["exclusive_recall"] == 1 and values["f1_complete"] > 0.9, "but for what edges cut"
    shown = sum(len(one.window.boxes) for one in found)
    area = len(windows) * (160 * 0.5e-3) ** 2
    assert values["predictions_per_mm2"] == pytest.approx(shown / area, rel=0.25), "but for what edges cut"


def test_windows_are_looked_at_one_by_one() -> None:
    instances = np.zeros((96, 96), np.uint16)
    instances[10:18, 10:18] = 1
    image = np.where(instances[..., None] > 0, 80, 220).astype(np.uint8).repeat(3, 2)
    spec = CellSpec("unet", {}, 1.0, (CellClass("cell", (0, 0, 0), 8.0),))
    network = Perfect()
    asked: list[int] = []
    network.register_forward_hook(lambda *_: asked.append(1))
    steps = finds_in_windows(network.train(), spec, [window_of_instances(image, instances)] * 3, "measuring")
    for number in range(1, 4):
        assert next(steps) == Stage("measuring", number, 3) and len(asked) == number
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert [len(one.finds) for one in end.value.value] == [1, 1, 1] and not network.training
