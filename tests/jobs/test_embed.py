from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from napari_zoommil import encoders
from napari_zoommil.bags import FeatureCache
from napari_zoommil.bags.parts import CHUNK_ROWS
from napari_zoommil.encoders import load_encoder
from napari_zoommil.errors import EncoderError, StoreError
from napari_zoommil.jobs import Progress, embed, predict, run
from napari_zoommil.jobs import tissue as tissue_job
from napari_zoommil.jobs.embed import BATCH_ROWS, Embedding
from napari_zoommil.jobs.kept import release
from napari_zoommil.jobs.many_slides import make_ready
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import read_patch

SMALL: dict[str, Any] = {"magnifications": (10.0, 20.0), "patch_size": 64, "workers": 2}


@pytest.fixture(scope="module")
def whole(cmu: Path, tmp_path_factory: pytest.TempPathFactory) -> Embedding:
    """Features of the slide, made without a break."""
    return run(embed(cmu, "mean-rgb", store=tmp_path_factory.mktemp("s"), **SMALL))


def every(embedding: Embedding) -> list[np.ndarray]:
    """All features by magnification."""
    bag = embedding.bag(FeatureCache(embedding.store.parent))
    return [bag.features(n, np.arange(len(level))).numpy() for n, level in enumerate(bag.grid.levels)]


def test_batches_fill_files() -> None:
    assert CHUNK_ROWS % BATCH_ROWS == 0


def test_a_real_slide_is_embedded(cmu: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL), seen.append)
    bag = result.bag(FeatureCache(tmp_path))
    assert result.encoded == result.total == sum(map(len, bag.grid.levels)) > CHUNK_ROWS
    assert (result.store.parent, bag.encoder.hash) == (tmp_path, load_encoder("mean-rgb").hash)
    rows = np.array([0, 5, len(bag.grid.levels[1]) - 1])
    with Slide.open(cmu) as slide:
        assert result.store.name == slide.fingerprint
        means = [read_patch(slide, bag.grid, 1, row).mean((0, 1)) / 255 for row in rows]
    np.testing.assert_allclose(bag.features(1, rows), means, atol=1e-3)
    assert cmu.stem not in "".join(map(str, tmp_path.rglob("*"))), "a name can tell who the patient is"

    seen = [progress for progress in seen if progress.note.endswith("patches")]
    done = [progress.done for progress in seen]
    assert done == sorted(done) and done[-1] == seen[-1].total == result.total
    assert max(np.diff(done)) <= BATCH_ROWS


def test_a_second_run_looks_for_nothing(cmu: Path, whole: Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for tissue nor for an encoder that is in memory."""

    def fail(*arguments: object) -> None:
        raise AssertionError("not needed")

    run(embed(cmu, "mean-rgb", store=whole.store.parent, **SMALL))

    tissue_job._found.clear()
    monkeypatch.setattr(tissue_job, "overview_strips", fail)
    monkeypatch.setattr(encoders, "load_encoder", fail)
    again = run(embed(cmu, "mean-rgb", store=whole.store.parent, **SMALL))
    assert (again.store, again.encoded, again.total) == (whole.store, 0, whole.total)
    ahead = {name: SMALL[name] for name in ("magnifications", "patch_size")}
    make_ready(cmu, Event(), store=whole.store.parent, min_tissue=0.1, **ahead)


def test_where_the_encoder_cannot_be_had_its_features_serve(
    cmu: Path, whole: Embedding, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(name: str, expected: str | None) -> None:
        raise EncoderError(f"{name} cannot be had")

    monkeypatch.setattr(encoders, "load_encoder", fail)
    release()
    again = run(embed(cmu, "mean-rgb", store=whole.store.parent, **SMALL))
    assert (again.encoded, again.encoder) == (0, whole.encoder)
    with pytest.raises(EncoderError, match="cannot be had"):
        run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL))


@pytest.mark.parametrize("batches", [1, 8])
def test_a_run_that_was_closed_is_resumed(cmu: Path, tmp_path: Path, whole: Embedding, batches: int) -> None:
    job = embed(cmu, "mean-rgb", store=tmp_path, **SMALL)
    count = 0
    while batches:
        progress = next(job)
        if progress.note.endswith("patches"):
            batches, count = batches - 1, progress.done
    job.close()
    result = run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL))
    assert result.encoded == whole.total - count > 0
    for one, other in zip(every(result), every(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_store_serves_every_set_of_magnifications(
    cmu: Path, whole: Embedding, make_model: Callable
) -> None:
    """Only patches that no other run encoded are encoded; nothing is refused."""
    folder = whole.store.parent
    alone = run(embed(cmu, "mean-rgb", store=folder, **{**SMALL, "magnifications": (20.0,)}))
    assert alone.encoded < alone.total / 4
    deeper = run(embed(cmu, "mean-rgb", store=folder, **{**SMALL, "magnifications": (5.0, 10.0, 20.0)}))
    assert len(every(deeper)[0]) <= deeper.encoded < deeper.total / 2
    other = run(embed(cmu, "mean-rgb", store=folder, **{**SMALL, "patch_size": 128}))
    assert other.encoded == other.total
    strict = run(embed(cmu, "mean-rgb", store=folder, min_tissue=0.9, **SMALL))
    assert strict.encoded == 0 < strict.total < whole.total
    prediction = run(predict(cmu, make_model(patch_size=64), store=folder))
    assert sum(prediction.cost.encoded) == 0 < sum(prediction.cost.taken)
    for one, another in zip(
        every(whole), every(run(embed(cmu, "mean-rgb", store=folder, **SMALL))), strict=True
    ):
        np.testing.assert_array_equal(one, another)


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


def test_a_store_that_cannot_be_written_is_refused_before_anything_is_read(cmu: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    seen: list[Progress] = []
    with pytest.raises(StoreError, match=r"features cannot be stored in .*file.*name another --store"):
        run(embed(cmu, "mean-rgb", store=tmp_path / "file", **SMALL), seen.append)
    assert [progress.note for progress in seen] == ["looking at the encoder"]


def test_a_disk_that_fills_ends_it_in_a_sentence(
    cmu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zoommil.bags import parts

    real, written = parts._append, []

    def fill(path: Path, origins: np.ndarray, features: np.ndarray) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(len(origins))
        real(path, origins, features)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="No space left on device"):
        patch.setattr(parts, "_append", fill)
        run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL))
    again = run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL))
    assert again.total - again.encoded == sum(written) > BATCH_ROWS, "what was written stays"


def test_damage_is_told_again_where_nothing_is_read(
    cmu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Slide, "damaged", 3)
        assert run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL)).damaged == 3
    assert run(embed(cmu, "mean-rgb", store=tmp_path, **SMALL)).damaged == 3


def test_turned_patches_are_kept_beside_the_others(cmu: Path, whole: Embedding, tmp_path: Path) -> None:
    small = {**SMALL, "magnifications": (10.0,)}
    seen: list[Progress] = []
    run(embed(cmu, "mean-rgb", store=tmp_path, **small))
    two = run(embed(cmu, "mean-rgb", store=tmp_path, variants=3, **small), seen.append)
    assert (two.encoded, two.total) == (two.total // 3 * 2, two.total)
    done = [one.done for one in seen if one.note.endswith("patches")]
    assert done == sorted(done) and done[0] > two.total // 3 and done[-1] == two.total
    assert run(embed(cmu, "mean-rgb", store=tmp_path, variants=3, **small)).encoded == 0
    bag, rows = two.bag(FeatureCache(tmp_path)), np.arange(9)
    plain = [bag.variant(variant).features(0, rows).numpy() for variant in range(3)]
    np.testing.assert_allclose(plain[1], plain[0], atol=1e-3)  # the mean of a turned patch is its own
    assert bag.variant(3).missing()[0] == two.total // 3
