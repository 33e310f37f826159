"""What lies in a store and cannot be used is told, whichever job meets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import StoreError
from napari_zoommil.jobs import Job, embed, finetune, predict, run, train

Make = Callable[..., Any]
READING = {"magnifications": (5.0, 10.0), "patch_size": 32}
JOBS = ("embed", "predict", "train", "finetune")


@pytest.fixture
def slide(tmp_path: Path, make_slide: Make) -> Path:
    return make_slide(tmp_path / "slide.tif", (120, 60, 160))


@pytest.fixture
def jobs(tmp_path: Path, slide: Path, make_slide: Make, make_model: Make) -> dict[str, Callable[..., Job]]:
    """Jobs that read a store and add to it."""
    model = make_model((5.0, 10.0), patch_size=32)
    lines = ["slide,label,split", "slide.tif,purple,train"]
    for name, colour in {"purple": (120, 60, 160), "pink": (200, 120, 160)}.items():
        for number, split in enumerate(("train", "val")):
            make_slide(tmp_path / f"{name}{number}.tif", colour, 256, seed=number)
            lines.append(f"{name}{number}.tif,{name},{split}")
    table = tmp_path / "cohort.csv"
    table.write_text("\n".join(lines))
    points = Points(classes=[CellClass("tumour", (213, 94, 0))])
    points.add(np.array([(200.0, 200.0), (300.0, 300.0)]), 1)
    how = {"out": tmp_path / "new", "epochs": 1, "device": "cpu"}
    return {
        "embed": partial(embed, slide, "mean-rgb", **READING),
        "predict": partial(predict, slide, model, device="cpu"),
        "train": partial(train, table, encoder="mean-rgb", **READING, **how),
        "finetune": partial(finetune, slide, points, model, **how),
    }


@pytest.fixture
def store(tmp_path: Path, slide: Path) -> Path:
    """Features of the slide."""
    run(embed(slide, "mean-rgb", store=tmp_path / "store", **READING))
    return tmp_path / "store"


def make_later(store: Path) -> None:
    for path in store.glob("*/mean-rgb-*/*/zarr.json"):
        content = json.loads(path.read_text())
        content["attributes"]["format"] += 1
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("job", JOBS)
def test_a_store_of_a_later_format_is_refused_by_name(jobs, store: Path, job: str) -> None:
    make_later(store)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="update the package, or name another --store") as refused:
        run(jobs[job](store=store))
    assert str(store) in str(refused.value)
    slides = {path.relative_to(store).parts[0] for path in before}
    after = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert {path: one for path, one in after.items() if path.relative_to(store).parts[0] in slides} == before


@pytest.mark.parametrize("job", ["predict", "finetune"])
def test_a_later_format_in_the_users_own_cache_fails_nobody(
    jobs, slide: Path, store: Path, cache: Path, job: str
) -> None:
    shutil.copytree(store, cache, dirs_exist_ok=True)
    make_later(cache)
    groups = sorted(cache.glob("*/mean-rgb-*/**/*"))
    result = run(jobs[job]())
    assert sorted(cache.glob("*/mean-rgb-*/**/*")) == groups
    if job == "predict":
        assert "in format 3); " in result.cost.unkept and sum(result.cost.encoded)


@pytest.mark.parametrize("job", JOBS)
def test_damaged_features_are_told_and_made_again(jobs, store: Path, job: str) -> None:
    for path in store.rglob("part-*/origins/zarr.json"):
        path.write_text("{")
    with pytest.warns(UserWarning, match=r"part-.* are not used: .*delete them to end this warning"):
        run(jobs[job](store=store))
