from __future__ import annotations

import pytest

from napari_zoommil.cells.losses import ExclusiveCrossEntropy, create_loss
from napari_zoommil.training.cells.presets import CONSTANT, PAPER, recipe


@pytest.mark.parametrize(("architecture", "gate"), [("unet", "margin"), ("yollo", "foreground")])
def test_the_published_preset_has_the_gate_of_the_authors(architecture: str, gate: str) -> None:
    settings = recipe("paper", architecture)
    loss = create_loss(settings.loss, **(settings.options or {}))
    assert isinstance(loss, ExclusiveCrossEntropy) and loss.gate == gate
    assert loss.threshold(0) < 0.01 < loss.threshold(1)  # annealed
    assert (settings.epochs, settings.background, settings.crop) == (300, PAPER.background, PAPER.crop)


def test_a_chosen_loss_has_priority() -> None:
    assert recipe("paper", "unet", "ece").loss == "ece"
    assert recipe("interactive", "unet", "focal").options is None


def test_a_short_training_is_not_annealed() -> None:
    settings = recipe("interactive", "unet", epochs=3, learning_rate=None)
    assert settings.options == CONSTANT and settings.epochs == 3 and settings.loss == "ece-margin"
    assert settings.background == PAPER.background and settings.learning_rate == PAPER.learning_rate
    assert recipe("interactive", "yollo", new_classes=True).head_rate > 1
