"""Trainings with more state than weights and Adam's: a second network, slow weights, random places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_zoommil.jobs import run, train

NETWORKS: dict[str, dict[str, Any]] = {
    "transmil": {"options": {"hidden": 16, "heads": 2, "landmarks": 8}, "magnifications": (10.0,)},
    "msmil": {
        "options": {"hidden": 16, "attention": 8, "adversarial": 0.01}, "magnifications": (5.0, 10.0),
    },
    "sparseconvmil": {
        "options": {"channels": (8, 8), "hidden": 8, "sampled": 20}, "magnifications": (10.0,),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    lines = ["slide,label,split"]
    for label, colour in {"blue": (120, 90, 200), "pink": (215, 110, 160)}.items():
        for number, split in enumerate(("train", "train", "val")):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_that_was_cut_off_ends_as_an_unbroken_one(cohort: Path, tmp_path: Path, name: str) -> None:
    settings = {
        "store": cohort.parent / "features", "encoder": "mean-rgb", "patch_size": 32, "epochs": 6,
        "learning_rate": 1e-2, **NETWORKS[name],
    }  # fmt: skip
    whole = run(train(cohort, name, out=tmp_path / "whole", **settings))
    job = train(cohort, name, out=tmp_path / "cut", **settings)
    for progress in job:
        if progress.note.startswith("epoch 4"):
            break
    job.close()
    seen: list[str] = []
    rest = run(
        train(cohort, name, out=tmp_path / "cut", resume=True, **settings), lambda one: seen.append(one.note)
    )
    assert next(note for note in seen if note.startswith("epoch"))[:7] in ("epoch 3", "epoch 4")
    assert rest.metrics == whole.metrics
    weights = [(one.model / "model.safetensors").read_bytes() for one in (whole, rest)]
    assert weights[0] == weights[1]
