"""The presets of needle-MNIST: what the paper varies, and networks that fit their canvases."""

from __future__ import annotations

import importlib
import json

import pytest

from napari_zoommil.experiments.data.needle_mnist import BALANCES, CLUTTER, TRAINING_SIZES, Canvas
from napari_zoommil.experiments.needles import trials
from napari_zoommil.experiments.needles.trials import POOLINGS, Extent
from napari_zoommil.models.blocks.receptive_field import fields, kernels

MADE = {"paper": trials._published(), "cpu": trials._for_cpu()}


@pytest.mark.parametrize("extent", MADE.values(), ids=MADE)
def test_each_trial_has_a_name_and_a_network_that_fits(extent: Extent) -> None:
    assert len(extent.pieces()) == sum(len(seeds) for _, seeds in extent.trials)
    json.dumps([extent.described(trial) for trial, _ in extent.trials])
    for trial in {(one.field, one.canvas.edge): one for one, _ in extent.trials}.values():
        kernel3 = kernels(trial.field, extent.blocks, extent.strides)
        last = fields(kernel3, extent.blocks, extent.strides)[-1]
        assert last.size == trial.field and last.least(2) <= trial.canvas.edge


def test_the_paper_varies_what_the_figures_show() -> None:
    extent = MADE["paper"]
    own = [trial for trial, _ in extent.trials]
    assert {trial.canvas.edge for trial in own} == set(CLUTTER)
    assert {trial.pooling for trial in own} == set(POOLINGS)
    assert {trial.train for trial in own} == set(TRAINING_SIZES)
    assert {trial.balance for trial in own} == set(BALANCES)
    assert {trial.width for trial in own} == {0.25, 0.5, 1, 2}
    assert {trial.field for trial in own} == {9, 33, 177}
    assert {seeds for _, seeds in extent.trials} == {tuple(range(6))}
    assert "64/33/max/base/0" in extent.pieces() and "256/33/mean/b0.01/5" in extent.pieces()
    assert [round(share * extent.epochs) for share in extent.milestones] == [80, 120, 160]


def test_the_cpu_has_both_ratios_and_all_kinds_of_trials() -> None:
    own = [trial for trial, _ in MADE["cpu"].trials]
    assert {round(100 * trial.canvas.ratio, 1) for trial in own} == {19.1, 4.8}
    assert {trial.canvas.noise for trial in own} == {"digits", "gaussian"}
    assert {trial.norm for trial in own} == {"batch", "instance"}


def test_names_tell_what_differs() -> None:
    base = trials.Trial(Canvas(32, 2, 14), 17)
    other = trials.Trial(Canvas(64, 5, 14, "gaussian"), 5, "mean", 0.25, "batch", 100, 0.1)
    assert base.name(base) == "32/17/max/base"
    assert other.name(base) == "64/5/mean/n100-w0.25-batch-b0.1-gaussian"


def test_presets_are_made_once() -> None:
    assert importlib.import_module(trials.__name__).EXTENTS["paper"] == MADE["paper"]
