"""A job leaves the process that it runs in as it was."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_zoommil.training.cells.fit
import napari_zoommil.training.mil.points  # noqa: F401  what importing does is not a job's doing
from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.jobs import Job, detect, embed, finetune, predict, run, train


def state() -> dict[str, Any]:
    """Whatever a library may change for the whole process."""
    known = logging.Logger.manager.loggerDict.items()
    loggers = {name: one for name, one in known if isinstance(one, logging.Logger)}
    return {
        "python": random.getstate(),
        "numpy": [str(one) for one in np.random.get_state()],  # noqa: NPY002  what a host may use
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "warnings": warnings.filters.copy(),
        "environment": dict(os.environ),
        "handlers": [one.filters.copy() for one in logging.getLogger("lightning.pytorch").handlers],
        "loggers": {name: (one.level, len(one.filters), one.disabled) for name, one in loggers.items()},
    }


def changes(before: dict[str, Any]) -> set[str]:
    """What is no longer as it was; loggers that were not there before are their libraries' doing."""
    after = state()
    after["loggers"] = {name: after["loggers"][name] for name in before["loggers"]}
    return {what for what in before if after[what] != before[what]}


@pytest.fixture
def slide(make_slide: Callable[..., Path], tmp_path: Path) -> Path:
    return make_slide(tmp_path / "slide.tif", (200, 90, 150))


@pytest.fixture
def jobs(
    slide: Path,
    make_slide: Callable[..., Path],
    make_model: Callable[..., str],
    make_cell_model: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Callable[[], Job[Any]]]:
    points = Points(classes=[CellClass("cell", (1, 2, 3), 10.0)])
    points.add(np.random.default_rng(0).uniform(100, 400, (12, 2)), 1)
    cells, mil = make_cell_model(mpp=1.0), make_model((5.0, 10.0))
    lines = ["slide,label,split"]
    for number, split in enumerate(("train", "val")):
        for label in ("a", "b"):
            make_slide(tmp_path / f"{label}{number}.tif", (200, 90 + 60 * (label == "a"), 150), 256)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    cpu: dict[str, Any] = {"device": "cpu", "threads": 1}
    tune: dict[str, Any] = {"epochs": 1, **cpu}
    store: dict[str, Any] = {"store": tmp_path / "store", "encoder": "mean-rgb", "device": "cpu"}
    store["magnifications"] = (5.0, 10.0)
    fit: dict[str, Any] = {"epochs": 1, "patch_size": 64, **store}
    return {
        "detect": lambda: detect(slide, cells, **cpu),
        "predict": lambda: predict(slide, mil, **cpu),
        "embed": lambda: embed(slide, **store),
        "finetune cells": lambda: finetune(slide, points, cells, out=tmp_path / "cells", **tune),
        "finetune MIL": lambda: finetune(slide, points, mil, out=tmp_path / "mil", **tune),
        "train": lambda: train(tmp_path / "cohort.csv", out=tmp_path / "trained", **fit),
    }


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    """A process that has drawn some random numbers of its own."""
    threads = torch.get_num_threads()
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    torch.set_num_threads(threads + 1)
    yield
    torch.set_num_threads(threads)


def test_jobs_leave_the_process_as_it_was(jobs: dict[str, Callable[[], Job[Any]]]) -> None:
    for name, job in jobs.items():
        before = state()
        run(job())
        assert not changes(before), name


@pytest.mark.parametrize("kind", ["finetune cells", "finetune MIL", "train"])
def test_so_does_a_training_that_is_cancelled(jobs: dict[str, Callable[[], Job[Any]]], kind: str) -> None:
    before, job = state(), jobs[kind]()
    while not next(job).note.startswith("epoch"):
        pass
    job.close()
    assert not changes(before)
