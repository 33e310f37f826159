from __future__ import annotations

from collections.abc import Callable

import lightning as L
import numpy as np
import pytest
import torch

from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Classification
from napari_zoommil.models.zoommil import ZoomMIL
from napari_zoommil.training.mil.module import MILModule, SlideDraws, loader

QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip

CLASSES = Classification(("a", "b"))


def small() -> ZoomMIL:
    return ZoomMIL(4, 2, (5, 10), ZoomMILOptions(3, hidden=8, attention=4))


@pytest.fixture
def examples(make_grid: Callable, make_bag: Callable) -> list:
    """Two classes that differ in one feature of the patches, at both magnifications."""
    grid, found = make_grid(3, 3, (5.0, 10.0)), []
    for index in range(8):
        bag = make_bag(grid, 4, index)
        for array in bag.arrays:
            array[:, 0] += 3 * (index % 2)
        found.append((bag, index % 2))
    return found


def test_a_module_learns_its_bags(examples: list) -> None:
    torch.manual_seed(0)
    module = MILModule(small(), Recipe(learning_rate=0.01))
    trainer = L.Trainer(max_epochs=6, **QUIET)
    trainer.fit(module, loader(examples, module.model.task, module.recipe), loader(examples))
    assert float(trainer.callback_metrics["val_accuracy"]) == 1
    assert float(trainer.callback_metrics["val_f1"]) == 1
    assert float(trainer.callback_metrics["val_loss"]) < 0.3
    assert "train_loss" in trainer.callback_metrics
    assert module.model.noise_scale == pytest.approx(0.1), "told how far training is"


def test_metrics_are_those_of_the_logits(examples: list) -> None:
    torch.manual_seed(0)
    module = MILModule(small(), Recipe())
    (found,) = L.Trainer(**QUIET).validate(module, loader(examples[:5]), verbose=False)
    with torch.no_grad():
        logits = torch.stack([module.model.eval()(bag).logits for bag, _ in examples[:5]])
    labels = torch.tensor([0, 1, 0, 1, 0])
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert found["val_loss"] == pytest.approx(float(loss), rel=1e-5)
    assert found["val_accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))


def test_a_plateau_lowers_the_rate_once_an_epoch(examples: list, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MILModule(small(), Recipe(learning_rate=1e-3, decay=0.8, patience=2))
    monkeypatch.setattr(module, "validation_step", lambda *_: module.log("val_loss", 1.0, batch_size=1))
    trainer = L.Trainer(max_epochs=4, limit_train_batches=3, limit_val_batches=1, **QUIET)
    trainer.fit(module, loader(examples, module.model.task, module.recipe), loader(examples))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(8e-4), "after the fourth epoch"


def test_training_is_balanced_over_classes() -> None:
    examples = [(None, 0)] * 90 + [(None, 1)] * 10
    drawn = [label for _, label in loader(examples, CLASSES, Recipe(), 1)]  # type: ignore[arg-type]
    assert len(drawn) == 100 and 35 <= sum(drawn) <= 65
    plain = [label for _, label in loader(examples, CLASSES, Recipe(weighted=False))]  # type: ignore[arg-type]
    assert sum(plain) == 10 and plain != sorted(plain)


def test_validation_keeps_the_order(examples: list) -> None:
    labels = [label for _, label in loader(examples)]
    np.testing.assert_array_equal(labels, [0, 1] * 4)


def test_the_order_follows_from_seed_and_epoch() -> None:
    for balanced in (True, False):
        weights = [0.05] * 40 if balanced else None
        draws, other = SlideDraws(40, weights, 3), SlideDraws(40, weights, 4)
        first = list(draws)
        assert list(draws) == first != list(other) and len(first) == len(draws) == 40
        draws.set_epoch(1)
        assert list(draws) != first and (balanced or sorted(draws) == list(range(40)))
