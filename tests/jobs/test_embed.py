from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.bags import FeatureStore, StoredBag
from napari_zoommil.bags.store import CHUNK_ROWS
from napari_zoommil.encoders import load_encoder
from napari_zoommil.errors import StoreError
from napari_zoommil.jobs import Progress, embed, run
from napari_zoommil.jobs.embed import BATCH_ROWS
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import read_patch

SMALL: dict[str, Any] = {"magnifications": (10.0, 20.0), "patch_size": 64, "workers": 2}


@pytest.fixture(scope="module")
def whole(cmu: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Features of the slide, made without a break."""
    return FeatureStore.open(run(embed(cmu, "mean-rgb", store=tmp_path_factory.mktemp("s"), **SMALL)).store)


def test_batches_fill_chunks() -> None:
    assert CHUNK_ROWS % BATCH_ROWS == 0


def test_a_real_slide_is_embedded(cmu: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL), seen.append)
    store = FeatureStore.open(result.store)
    assert result.encoded == result.total == sum(len(level) for level in store.grid.levels) > CHUNK_ROWS
    assert (store.key.slide, store.key.encoder_hash) == (cmu.name, load_encoder("mean-rgb").hash)
    rows = np.array([0, 5, len(store.grid.levels[1]) - 1])
    with Slide.open(cmu) as slide:
        means = [read_patch(slide, store.grid, 1, row).mean((0, 1)) / 255 for row in rows]
    np.testing.assert_allclose(StoredBag(store).features(1, rows), means, atol=1e-3)

    seen = [progress for progress in seen if progress.note.endswith("patches")]
    done = [progress.done for progress in seen]
    assert done == sorted(done) and done[-1] == seen[-1].total == result.total
    assert max(np.diff(done)) <= BATCH_ROWS


def test_a_second_run_encodes_nothing(cmu: Path, whole: FeatureStore) -> None:
    again = run(embed(cmu, "mean-rgb", store=whole.path.parent, **SMALL))
    assert (again.store, again.encoded) == (whole.path, 0)
    assert again.total == sum(len(level) for level in whole.grid.levels)


@pytest.mark.parametrize("batches", [1, 8])
def test_a_run_that_was_closed_is_resumed(
    cmu: Path, tmp_path: Path, whole: FeatureStore, batches: int
) -> None:
    job = embed(cmu, "mean-rgb", store=tmp_path / "cut", **SMALL)
    while batches:
        batches -= next(job).note.endswith("patches")
    job.close()
    (path,) = (tmp_path / "cut").iterdir()
    cut = FeatureStore.open(path)
    missing = sum(len(rows) for level in (0, 1) for rows in cut.missing(level))
    assert missing
    result = run(embed(cmu, "mean-rgb", store=tmp_path / "cut", **SMALL))
    assert result.encoded == missing
    for level in (0, 1):
        np.testing.assert_array_equal(FeatureStore.open(path).read(level), whole.read(level))


def test_other_patches_need_another_store(cmu: Path, whole: FeatureStore) -> None:
    with pytest.raises(StoreError, match="other patches"):
        run(embed(cmu, "mean-rgb", store=whole.path.parent, **{**SMALL, "patch_size": 128}))


def test_slides_of_the_same_name_do_not_meet(make_slide: Callable, tmp_path: Path) -> None:
    for number, colour in enumerate(((200, 90, 150), (120, 90, 200))):
        (tmp_path / str(number)).mkdir()
        make_slide(tmp_path / str(number) / "a.tif", colour)
    small = {**SMALL, "magnifications": (5.0, 10.0)}
    stores = {
        run(embed(tmp_path / number / "a.tif", "mean-rgb", store=tmp_path / "s", **small)).store
        for number in "01"
    }
    assert len(stores) == 2
