from __future__ import annotations

import json

import pytest

from napari_zoommil.cells.model import NETWORKS
from napari_zoommil.errors import JobError
from napari_zoommil.experiments.sparse_labels.settings import PRESETS, SETTINGS, Trial, select
from napari_zoommil.training.cells.module import CellModule

CPU, PAPER = PRESETS["cpu"], PRESETS["paper"]


def names(*only: str, preset=CPU) -> list[str]:
    return [str(trial) for trial in select(preset, only)]


def test_the_cpu_preset_is_2_models_2_shares_6_losses_3_seeds() -> None:
    trials = names()
    assert len(trials) == len(set(trials)) == 72
    assert {trial.split("/")[2] for trial in trials} == {"30", "100"}
    assert all(trial.endswith("/0") for trial in trials[:24]), "the first seed comes first"


def test_the_paper_preset_has_table_3_for_masks_and_table_4_for_boxes() -> None:
    trials = names(preset=PAPER)
    assert {"unet/elr-cifar10/30/0", "yollo/ece-background/90/0", "unet/ece/10/2"} <= set(trials)
    assert not {"yollo/elr-cifar10/30/0", "unet/ece-background/90/0"} & set(trials)
    recipe = PAPER.recipe(Trial("unet", "ce", 30, 0))
    assert (recipe.epochs, recipe.batch_size, recipe.accumulate) == (300, 16, 4)
    assert (recipe.learning_rate, recipe.crop) == (1e-4, 512)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("unet", 36), ("unet/ece", 6), ("unet/*/30", 18), ("*/*/*/0", 24), ("unet/ece/30/0", 1), ("", 72)],
)
def test_only_takes_prefixes_and_stars(pattern: str, count: int) -> None:
    found = names(pattern)
    assert len(found) == count and set(found) <= set(names())


def test_only_reaches_beyond_the_preset() -> None:
    assert names("unet/ece-constant,ece-margin-constant/20/7") == [
        "unet/ece-constant/20/7",
        "unet/ece-margin-constant/20/7",
    ]
    assert names("unet/ce/30/0", "unet/ce/30") == [f"unet/ce/30/{seed}" for seed in (0, 1, 2)]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("resnet", "'resnet'.*unet, yollo"),
        ("unet/mse", "'mse'.*weighted-ce"),
        ("unet/ce/0", "'0'.*percentage"),
        ("unet/ce/30/x", "'x'.*number"),
        ("unet/ce/30/0/1", "model/setting/percent/seed"),
        ("yollo/elr-cifar10", "not for this model"),
    ],
)
def test_what_there_is_not_is_named(pattern: str, words: str) -> None:
    with pytest.raises(JobError, match=words):
        names(pattern)


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_can_be_trained_and_described(setting: str) -> None:
    for model in SETTINGS[setting].models:
        trial = Trial(model, setting, 30, 5)
        CellModule(NETWORKS[model](width=2), CPU.recipe(trial))
        described = CPU.described(trial)
        assert json.loads(json.dumps(described))["recipe"]["seed"] == 5


def test_settings_differ_in_their_description() -> None:
    described = {json.dumps(CPU.described(Trial("yollo", name, 30, 0))) for name in SETTINGS}
    assert len(described) == len(SETTINGS)
