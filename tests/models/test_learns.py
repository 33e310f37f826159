"""Every model that reads features learns to find a few witnesses among many patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc

from napari_zoommil.geometry import PatchGrid
from napari_zoommil.models import create, names
from napari_zoommil.models.registry import entry

WIDTH, SLIDES, EPOCHS = 64, 32, 10
FAST: dict[str, dict[str, Any]] = {
    "transmil": {"hidden": 256, "heads": 2, "landmarks": 16},
    "nic": {"region": 8, "views": 1, "padding": "same", "width": 32, "strides": (1, 1), "dropout": 0.0},
}
"""Options of models that take minutes otherwise, or are made for larger slides."""
STEPS: dict[str, tuple[int, float]] = {"nic": (2 * EPOCHS, 1e-2)}
"""Epochs and learning rate of models that take fewer steps in an epoch, since they learn from batches."""
SCALES = {"one": (20.0,), "several": (10.0, 20.0), "nested": (10.0, 20.0)}


def planted(bag: Any, label: int, seed: int) -> Any:
    """A bag; of class 1, a patch of the lowest magnification and all inside it show the witness."""
    rng, grid = np.random.default_rng(seed), bag.grid
    arrays = [array.copy() for array in bag.arrays]
    rows = rng.choice(len(grid.levels[0]), 3, replace=False)
    for level in range(len(grid.levels)):
        arrays[level][rows, : WIDTH // 8] += 2.0 * label
        if level + 1 < len(grid.levels):
            rows = grid.children(level, np.sort(rows))
    return replace(bag, arrays=tuple(arrays))


def batched(cohort: list[tuple[Any, int]], size: int) -> Iterator[list[tuple[Any, int]]]:
    for start in range(0, len(cohort), size):
        yield cohort[start : start + size]


def cohort(grid: PatchGrid, make_bag: Callable, first: int) -> list[tuple[Any, int]]:
    return [
        (planted(make_bag(grid, WIDTH, first + number), number % 2, first + number), number % 2)
        for number in range(SLIDES)
    ]


@pytest.mark.parametrize("name", [name for name in names() if entry(name).takes == "bag"])
def test_it_finds_witnesses_on_held_out_bags(name: str, make_grid: Callable, make_bag: Callable) -> None:
    torch.manual_seed(0)
    found, scales = entry(name), SCALES[entry(name).scales]
    grid = make_grid(5, 6, scales)
    weights, size = found.recipe().loss_weights, found.recipe().batch
    epochs, rate = STEPS.get(name, (EPOCHS, 1e-3))
    model = create(name, WIDTH, 2, scales, **FAST.get(name, {}))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    to_learn_from = cohort(grid, make_bag, 0)
    for epoch in range(epochs):
        share = epoch / epochs
        model.train().progress(share)
        for batch in batched(to_learn_from, size):
            outputs, found_losses = model.outputs([bag for bag, _ in batch]), []
            for output, (_, label) in zip(outputs, batch, strict=True):
                losses = model.losses(output, torch.tensor(label), share)
                found_losses += [weights.get(key, 1.0) * loss for key, loss in losses.items()]
            optimizer.zero_grad()
            (torch.stack(found_losses).sum() / len(batch)).backward()
            optimizer.step()
    held_out = cohort(grid, make_bag, 1000)
    with torch.no_grad():
        logits = torch.stack([model.eval()(bag).logits for bag, _ in held_out])
    auroc = binary_auroc(logits[:, 1] - logits[:, 0], torch.tensor([label for _, label in held_out]))
    assert auroc >= 0.8, float(auroc)
