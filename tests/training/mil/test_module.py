from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from napari_zoommil.models.entries import ZoomMILOptions
from napari_zoommil.models.mil import MILOutput
from napari_zoommil.models.registry import Recipe
from napari_zoommil.models.task import Classification, Regression
from napari_zoommil.models.zoommil import ZoomMIL
from napari_zoommil.training.mil.module import MILModule, SlideDraws, SlidesInOrder, loader

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
    drawn = [label for ((_, label, _),) in loader(examples, CLASSES, Recipe(), 1)]  # type: ignore[arg-type]
    assert len(drawn) == 100 and 35 <= sum(drawn) <= 65
    plain = [label for ((_, label, _),) in loader(examples, CLASSES, Recipe(weighted=False))]  # type: ignore[arg-type]
    assert sum(plain) == 10 and plain != sorted(plain)


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(17, 16, [9, 8]), (16, 16, [16]), (33, 16, [11, 11, 11]), (5, 8, [5]), (3, 1, [1, 1, 1])],
)
def test_batches_are_of_even_sizes_and_hold_each_slide(count: int, most: int, sizes: list[int]) -> None:
    examples = [(None, number) for number in range(count)]
    batches = loader(examples, None, Recipe(batch=most), 3)  # type: ignore[arg-type]
    found = [[label for _, label, _ in batch] for batch in batches]
    assert len(batches) == len(found) and [len(batch) for batch in found] == sizes
    drawn = SlideDraws(count, None, 3)
    assert list(chain(*found)) == list(drawn) and {*drawn} == {*range(count)}


def test_each_epoch_has_the_order_of_its_number_in_batches(examples: list) -> None:
    recipe, orders = Recipe(batch=3, schedule="constant"), []

    class Noted(MILModule):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            orders.append(tuple(place for _, _, place in batch))
            return super().training_step(batch, index)

    trainer = L.Trainer(max_epochs=2, use_distributed_sampler=False, limit_val_batches=0, **QUIET)
    trainer.fit(Noted(small(), recipe), loader(examples, CLASSES, recipe, 5))
    draws = SlideDraws(len(examples), CLASSES.balance([label for _, label in examples]), 5)
    expected = []
    for epoch in range(2):
        draws.set_epoch(epoch)
        places = list(draws)
        expected += [tuple(places[:3]), tuple(places[3:6]), tuple(places[6:])]
    assert orders == expected


class Strict(ZoomMIL):
    """Has a loss of its own beside the task's, which grows with progress."""

    def losses(self, output: MILOutput, target: torch.Tensor, progress: float) -> dict[str, torch.Tensor]:
        spread = output.steps[0].scores.std() * (1 + progress)
        return super().losses(output, target, progress) | {"spread": spread}


def test_losses_of_the_model_are_summed_by_the_recipe_and_logged_each(examples: list) -> None:
    torch.manual_seed(0)
    model = Strict(4, 2, (5, 10), ZoomMILOptions(3, hidden=8, attention=4, dropout=0))
    module = MILModule(model, Recipe(loss_weights={"spread": 0.25}))
    module.share = 0.5
    (found,) = L.Trainer(**QUIET).validate(module, loader(examples[:2]), verbose=False)
    with torch.no_grad():
        outputs = [model.eval()(bag) for bag, _ in examples[:2]]
    bag = np.mean([float(model.task.loss(o.logits, torch.tensor(n))) for n, o in enumerate(outputs)])
    spread = np.mean([1.5 * float(o.steps[0].scores.std()) for o in outputs])
    assert found["val_bag_loss"] == pytest.approx(bag, rel=1e-5)
    assert found["val_spread_loss"] == pytest.approx(spread, rel=1e-5)
    assert found["val_loss"] == pytest.approx(bag + 0.25 * spread, rel=1e-5)
    trainer = L.Trainer(max_epochs=2, **QUIET)
    trainer.fit(module, loader(examples, CLASSES, module.recipe), loader(examples))
    assert {"train_loss", "train_bag_loss", "train_spread_loss"} <= trainer.callback_metrics.keys()
    assert module.share > 0.8


def test_a_number_is_learnt(examples: list) -> None:
    L.seed_everything(0, verbose=False)
    numbers = [(bag, 40.0 + 15 * (label > 0)) for bag, label in examples]
    model = ZoomMIL(4, 1, (5, 10), ZoomMILOptions(3, hidden=8, attention=4))
    model.task = Regression.fitted([value for _, value in numbers], "mm")
    module = MILModule(model, Recipe(learning_rate=0.01))
    trainer = L.Trainer(max_epochs=8, **QUIET)
    trainer.fit(module, loader(numbers, model.task, module.recipe), loader(numbers))
    found = trainer.callback_metrics
    assert float(found["val_mae"]) < 4 and float(found["val_correlation"]) > 0.9
    assert float(found["val_loss"]) < 0.3


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "lookahead_radam", "sgd"])
def test_optimisers_are_named(examples: list, name: str) -> None:
    torch.manual_seed(0)
    recipe = Recipe(optimizer=name, learning_rate=1e-2, weight_decay=0.1, schedule="cosine", epochs=2)
    module = MILModule(small(), recipe)
    before = module.model.classifier.bias.detach().clone()
    L.Trainer(max_epochs=2, **QUIET).fit(module, loader(examples, CLASSES, recipe), loader(examples))
    assert not torch.equal(before, module.model.classifier.bias)
    config = module.configure_optimizers()
    assert len(config["optimizer"].param_groups) == 1, (
        "weight decay is of all weights, as the authors have it"
    )
    assert type(config["lr_scheduler"]["scheduler"]).__name__ == "CosineAnnealingLR"
    constant = MILModule(small(), Recipe(schedule="constant", optimizer_options={"betas": (0.5, 0.9)}))
    assert constant.configure_optimizers()["optimizer"].param_groups[0]["betas"] == (0.5, 0.9)
    assert "lr_scheduler" not in constant.configure_optimizers()


def test_the_rate_falls_at_the_milestones(examples: list) -> None:
    recipe = Recipe(
        learning_rate=1.0, schedule="steps", decay=0.1, milestones=(0.4, 0.6, 0.8), epochs=10, accumulate=3
    )
    module, rates = MILModule(small(), recipe), []

    class Watch(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    how = QUIET | {"callbacks": [Watch()], "accumulate_grad_batches": recipe.accumulate}
    L.Trainer(max_epochs=10, **how).fit(module, loader(examples, CLASSES, recipe), loader(examples))
    np.testing.assert_allclose(rates, [1] * 4 + [0.1] * 2 + [0.01] * 2 + [0.001] * 2)


def test_validation_keeps_the_order(examples: list) -> None:
    labels = [label for ((_, label, _),) in loader(examples)]
    np.testing.assert_array_equal(labels, [0, 1] * 4)


def test_the_order_follows_from_seed_and_epoch() -> None:
    for balanced in (True, False):
        weights = [0.05] * 40 if balanced else None
        draws, other = SlideDraws(40, weights, 3), SlideDraws(40, weights, 4)
        first = list(draws)
        assert list(draws) == first != list(other) and len(first) == len(draws) == 40
        draws.set_epoch(1)
        assert list(draws) != first and (balanced or sorted(draws) == list(range(40)))


@pytest.mark.parametrize(("count", "several"), [(6, 2), (7, 3), (2, 3), (1, 4)])
def test_processes_share_the_slides(count: int, several: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_each(make: Callable[[], SlideDraws | SlidesInOrder]) -> list[list[int]]:
        found = []
        for own in range(several):
            monkeypatch.setattr(
                "napari_zoommil.training.mil.module.processes", lambda own=own: (own, several)
            )
            found.append(list(make()))
            assert len(found[-1]) == len(make())
        return found

    whole = list(SlideDraws(count, None, 0))
    shares = of_each(lambda: SlideDraws(count, None, 0))
    assert len({len(share) for share in shares}) == 1, "they step together"
    in_turn = [row for step in zip(*shares, strict=True) for row in step]
    assert in_turn[:count] == whole and set(in_turn) == set(whole)
    measured = [row for share in of_each(lambda: SlidesInOrder(count)) for row in share]
    assert sorted(measured) == list(range(count)) if count >= several else set(measured) == set(range(count))


class _Apart(torch.nn.Module):
    """Tells slides apart by the first score."""

    def __init__(self, slides: int) -> None:
        super().__init__()
        self.classify = torch.nn.Linear(1, slides)
        self.asked: list[tuple[int, float]] = []

    def forward(self, output: MILOutput, slide: int, progress: float) -> dict[str, torch.Tensor]:
        self.asked.append((slide, progress))
        told = self.classify(output.steps[0].scores[:1, :1])
        return {"slide": torch.nn.functional.cross_entropy(told, torch.tensor([slide]))}


def test_a_network_beside_the_model_learns_with_it_and_knows_the_slide(examples: list) -> None:
    torch.manual_seed(0)
    model = small()
    model.auxiliary = _Apart  # type: ignore[method-assign]
    recipe = Recipe(learning_rate=0.01, weighted=False, loss_weights={"slide": 0.5})
    module = MILModule(model, recipe, slides=len(examples))
    beside = module.auxiliary
    assert isinstance(beside, _Apart) and beside.classify.out_features == 8
    before = beside.classify.weight.detach().clone()
    trainer = L.Trainer(max_epochs=2, **QUIET)
    trainer.fit(module, loader(examples, CLASSES, recipe), loader(examples))
    assert not torch.equal(before, beside.classify.weight)
    assert sorted(slide for slide, _ in beside.asked[:8]) == list(range(8)), "not asked in validation"
    assert len(beside.asked) == 16 and beside.asked[8][1] == 0.5
    found = trainer.callback_metrics
    total = found["train_bag_loss"] + 0.5 * found["train_slide_loss"]
    torch.testing.assert_close(found["train_loss"], total)
    assert "val_slide_loss" not in found
    assert not any(name.startswith("auxiliary") for name in model.state_dict())
    assert MILModule(model, recipe).auxiliary is None, "where nothing is trained, there is none"


def test_parts_can_have_learning_rates_of_their_own(examples: list) -> None:
    rates = {"embed": 1e-5, "pool": 0.0}
    recipe = Recipe(learning_rate=1e-3, part_rates=rates, weight_decay=0.1, schedule="constant")
    module = MILModule(small(), recipe)
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-5, 0.0]
    assert {group["weight_decay"] for group in groups} == {0.1}
    found = [weight for group in groups for weight in group["params"]]
    assert len(found) == len(set(found)) == len(list(module.model.parameters()))
    before = [weight.detach().clone() for weight in module.model.parameters()]
    L.Trainer(max_epochs=1, **QUIET).fit(module, loader(examples, CLASSES, recipe), loader(examples))
    for (name, now), then in zip(module.model.named_parameters(), before, strict=True):
        assert torch.equal(now, then) == name.startswith("pool."), name


class Together(ZoomMIL):
    """Remembers how many bags it was given together."""

    def outputs(self, bags: Any) -> list[MILOutput]:
        self.sizes = [*getattr(self, "sizes", ()), len(bags)]
        return super().outputs(bags)


def test_batches_are_passed_together_and_their_loss_is_the_mean(examples: list) -> None:
    torch.manual_seed(0)
    model = small()
    model.__class__ = Together
    module = MILModule(model, Recipe(batch=3))
    module.trainer = L.Trainer(**QUIET)  # type: ignore[assignment]
    (batch, *_) = loader(examples, model.task, Recipe(batch=3))
    model.eval()
    losses, outputs, targets = module._losses(batch)
    each = [model.task.loss(one.logits, target) for one, target in zip(outputs, targets, strict=True)]
    torch.testing.assert_close(losses["loss"], torch.stack(each).mean())
    assert model.sizes == [3] and [int(one) for one in targets] == [label for _, label, _ in batch]
