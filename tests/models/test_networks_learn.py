"""Each network learns to find a few patches in bags that it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc

from napari_zoommil.models import create
from napari_zoommil.models.registry import entry

SMALL: dict[str, dict[str, Any]] = {
    "transmil": {"hidden": 32, "heads": 2, "landmarks": 8},
    "msmil": {"hidden": 32, "attention": 16, "adversarial": 0.001},
    "sparseconvmil": {"channels": (16, 16), "hidden": 16},
}


def cohort(make_grid: Callable, make_bag: Callable, magnifications: tuple[float, ...], count: int, seed: int):  # type: ignore[no-untyped-def]
    """Bags of noise; those of class 1 have a lesion: neighbouring patches that differ in one feature."""
    rng, found = np.random.default_rng(seed), []
    for index in range(count):
        bag = make_bag(make_grid(5, 6, magnifications), 8, 1000 * seed + index)
        if label := index % 2:
            middle = rng.uniform(0.3, 0.7, 2) * bag.grid.shape
            for level, array in zip(bag.grid.levels, bag.arrays, strict=True):
                centres = level.origins + np.asarray(level.size) / 2
                near = np.abs(centres - middle).max(1) < 0.2 * min(bag.grid.shape)
                array[near, 0] += 3
        found.append((bag, label))
    return found


@pytest.mark.parametrize("name", SMALL)
def test_it_finds_a_lesion(make_grid: Callable, make_bag: Callable, name: str) -> None:
    known = entry(name)
    magnifications = (20.0,) if known.scales == "one" else (5.0, 10.0)
    train = cohort(make_grid, make_bag, magnifications, 120, 1)
    held_out = cohort(make_grid, make_bag, magnifications, 40, 2)
    torch.manual_seed(0)
    model = create(name, 8, 2, magnifications, **SMALL[name])
    beside = model.auxiliary(len(train))
    networks = torch.nn.ModuleList([model] if beside is None else [model, beside])
    optimizer = torch.optim.Adam(networks.parameters(), 3e-3)
    epochs = 5
    for epoch in range(epochs):
        model.train().progress(epoch / epochs)
        for number in torch.randperm(len(train)).tolist():
            bag, label = train[number]
            output = model(bag)
            losses = model.losses(output, torch.tensor(label), epoch / epochs)
            if beside is not None:
                losses |= beside(output, number, epoch / epochs)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
    with torch.no_grad():
        found = torch.stack([model.eval()(bag).logits.softmax(0)[1] for bag, _ in held_out])
    assert binary_auroc(found, torch.tensor([label for _, label in held_out])) >= 0.9
