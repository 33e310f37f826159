"""The network of each kind that was used last is not read again, and no job sees what another one trains."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_zoommil import model_folder, model_weights
from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.encoders.device import choose_device
from napari_zoommil.jobs import Job, detect, finetune, predict, run
from napari_zoommil.jobs.kept import identity_of, lend, release
from napari_zoommil.jobs.loading import cell_model_on, loaded
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.outcomes import results_of

Make = Callable[..., Any]
WHOLE = np.array([[0.0, 0.0], [0.0, 256.0], [256.0, 256.0], [256.0, 0.0]])
CPU = choose_device("cpu")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Model folders whose weights were read."""
    folders: list[Path] = []
    real = model_weights.read_weights
    monkeypatch.setattr(
        model_weights, "read_weights", lambda folder, network: (folders.append(folder), real(folder, network))
    )
    release()
    return folders


@pytest.fixture
def slides(make_slide: Make, tmp_path: Path) -> list[Path]:
    return [make_slide(tmp_path / f"{n}.tif", (150, 60, 120), 256, seed=40 + n) for n in range(3)]


@pytest.fixture
def jobs(make_model: Make, make_cell_model: Make) -> dict[str, tuple[Path, Callable[..., Job[Any]]]]:
    """Model folder and job of each kind."""
    mil, cells = make_model((5.0, 10.0), patch_size=32), make_cell_model("unet", padding="same", mpp=1.0)
    return {
        "mil": (Path(mil), partial(predict, model=mil, device="cpu")),
        "cells": (Path(cells), partial(detect, model=cells, regions=[WHOLE], device="cpu")),
    }


def zero(folder: Path) -> None:
    weights = folder / model_folder.WEIGHTS
    save_file({name: torch.zeros_like(one) for name, one in load_file(weights).items()}, weights)


@pytest.mark.parametrize("kind", ["mil", "cells"])
def test_a_model_is_read_once_for_many_slides(jobs, slides, reads, kind: str) -> None:
    folder, job = jobs[kind]
    together = results_of(run(over(job, slides)))
    assert reads == [folder]
    for path, result in zip(slides, together, strict=True):
        release()
        alone = run(job(path))
        if kind == "mil":
            np.testing.assert_array_equal(result.logits, alone.logits)
        else:
            np.testing.assert_array_equal(result.finds.boxes, alone.finds.boxes)


@pytest.mark.parametrize("kind", ["mil", "cells"])
def test_a_model_that_changed_between_slides_is_read_again(jobs, slides, reads, kind: str) -> None:
    folder, job = jobs[kind]

    def then(path: Path, result: Any) -> Any:
        if path == slides[0]:
            zero(folder)
        return result

    first, *others = results_of(run(over(job, slides, then=then)))
    assert reads == [folder] * 2
    if kind == "mil":
        assert np.abs(first.logits).max() > 0 and not any(one.logits.any() for one in others)


def test_both_kinds_are_kept_beside_each_other(jobs, slides, reads) -> None:
    for _ in range(2):
        for _, job in jobs.values():
            run(job(slides[0]))
    assert len(reads) == 2


@pytest.mark.parametrize("kind", ["mil", "cells"])
def test_a_fine_tuning_changes_no_later_result(jobs, slides, reads, tmp_path: Path, kind: str) -> None:
    folder, job = jobs[kind]
    points = Points(classes=[CellClass("class 0", (213, 94, 0), 8.0)])
    points.add(np.array([(60.0, 60.0), (100.0, 120.0), (180.0, 90.0)]), 1)
    before = run(job(slides[0]))
    epochs = {"epochs": 2, "learning_rate": 0.05, "device": "cpu"}
    new = run(finetune(slides[0], points, str(folder), out=tmp_path / "new", **epochs)).model
    changed = [
        name
        for name, one in load_file(new / model_folder.WEIGHTS).items()
        if not torch.equal(one, load_file(folder / model_folder.WEIGHTS)[name])
    ]
    assert changed, "it was trained"
    after = run(job(slides[0]))
    if kind == "mil":
        np.testing.assert_array_equal(before.logits, after.logits)
    else:
        np.testing.assert_array_equal(before.finds.boxes, after.finds.boxes)
        np.testing.assert_array_equal(before.finds.scores, after.finds.scores)
        assert reads == [folder], "a fine-tuning copies the one that is there"


def test_what_a_job_trains_nobody_else_gets(jobs, reads) -> None:
    mil = str(jobs["mil"][0])
    with loaded(mil, "cpu", to_train=True) as taught:
        pass
    with loaded(mil, "cpu") as one:
        assert one.model is not taught.model
    with loaded(mil, "cpu", to_train=True) as taught:
        assert taught.model is one.model
    with loaded(mil, "cpu") as other:
        assert other.model is not taught.model
    assert len(reads) == 3


def test_jobs_beside_each_other_share_no_model(jobs, reads) -> None:
    mil, cells = (str(folder) for folder, _ in jobs.values())
    with loaded(mil, "cpu") as one, loaded(mil, "cpu") as other:
        assert one.model is not other.model
    with cell_model_on(CPU, cells) as (first, _), cell_model_on(CPU, cells) as (second, _):
        assert first is not second
    assert len(reads) == 4


def test_a_network_is_lent_to_one_thread_at_a_time() -> None:
    release()
    busy: set[int] = set()
    shared: list[int] = []

    def borrow() -> None:
        for _ in range(50):
            with lend("mil", identity_of("a", ()), lambda: (torch.nn.Linear(1, 1), None), CPU) as (own, _):
                if id(own) in busy:
                    shared.append(id(own))
                busy.add(id(own))
                busy.remove(id(own))

    threads = [threading.Thread(target=borrow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not shared


def test_a_network_that_cannot_be_read_leaves_nothing_behind() -> None:
    release()

    def read() -> Any:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), lend("cells", identity_of("a", ()), read, CPU):
        pass
    with lend("cells", identity_of("a", ()), lambda: (torch.nn.Linear(1, 1), 7), CPU) as (_, about):
        assert about == 7


def test_reading_a_network_leaves_random_numbers_alone() -> None:
    release()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with lend("mil", identity_of("b", ()), lambda: (torch.nn.Linear(9, 9), None), CPU):
        assert torch.equal(torch.get_rng_state(), state)
