"""What a model makes of a slide before and after: the same as a prediction makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.bags import CachedBag
from napari_zoommil.bags.cache import open_cache
from napari_zoommil.geometry import Rows
from napari_zoommil.jobs import predict, run
from napari_zoommil.jobs.attention_change import AttentionMaps, AttentionProbe, AttentionState
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.loading import loaded
from napari_zoommil.slides import Slide

TAUGHT = np.array([1, 2, 3])
"""Patches of the lowest magnification, and the same rows of the others, that hold points."""


@pytest.fixture
def tissue(tmp_path: Path, make_slide: Callable[..., Path]) -> Path:
    return make_slide(tmp_path / "slide.tif", (170, 60, 130), 1024)


@pytest.fixture
def model(make_model: Callable[..., str]) -> str:
    return make_model((5.0, 10.0), patch_size=64)


@contextmanager
def probing(path: Path, model: str, trees: Rows | None = None) -> Iterator[AttentionProbe]:
    with Slide.open(path) as slide, loaded(model, "cpu", 1) as with_model:
        cache, spec = open_cache(None), with_model.spec
        key = grid_key(slide, spec.magnifications, spec.patch_size, spec.min_tissue)
        grid = run(find_patches(slide, cache, key))
        targets = tuple(np.isin(np.arange(len(one)), TAUGHT).astype(np.int64) for one in grid.levels)
        yield AttentionProbe(with_model, CachedBag(cache, slide, grid, with_model.encoder), targets, trees)


def measured(
    probe: AttentionProbe, when: Any = "before"
) -> tuple[AttentionState, list[AttentionMaps], list[str]]:
    """Its result, what it showed, and its notes."""
    told: list[Any] = []
    state = run(probe.measure(when), told.append)
    shown = [one.partial for one in told if isinstance(one.partial, AttentionMaps)]
    return state, shown, [one.note for one in told]


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_tells_what_a_prediction_tells(tissue: Path, model: str, when: str) -> None:
    with probing(tissue, model) as probe:
        state, (shown,), notes = measured(probe, when)
    found = run(predict(tissue, model, device="cpu"))
    assert shown.when == when and len(shown.maps) == len(found.steps) == 2
    assert notes[-1] == f"attention {when}" and all(f"attention {when}" in note for note in notes)
    for own, other in zip(shown.maps, found.maps_of("attention"), strict=True):
        np.testing.assert_allclose(own.values, other.values, atol=1e-6)
        assert (own.origin, own.downsample) == (other.origin, other.downsample)
    np.testing.assert_array_equal(state.zoomed, found.steps[0].zoomed)
    assert state.figures["probability_tumour"] == pytest.approx(float(found.probabilities[1]), abs=1e-4)


def test_the_share_is_that_of_the_attention_on_what_is_annotated(tissue: Path, model: str) -> None:
    with probing(tissue, model) as probe:
        state, _, _ = measured(probe)
    for step, name in zip(state.output.steps, ("5x", "10x"), strict=True):
        weights = np.exp(step.attention.numpy().astype(float))
        held = np.isin(step.rows, TAUGHT)
        share = weights[held].sum() / weights.sum()
        assert state.figures[f"attention_on_points_{name}"] == pytest.approx(share, abs=1e-4)
    assert state.figures["attention_on_points_5x"] > 0


def test_of_a_part_of_the_slide_it_names_patches_as_the_whole_slide_does(tissue: Path, model: str) -> None:
    trees = np.array([2, 5, 6, 9, 11])
    with probing(tissue, model) as whole:
        grid = whole.bag.grid
        everything, (all_of_it,), _ = measured(whole)
    with probing(tissue, model, trees) as probe:
        state, (shown,), _ = measured(probe)
    assert len(state.zoomed) == 4 and set(state.zoomed) <= set(trees)
    assert len(everything.output.steps[0].rows) == len(grid.levels[0]) > len(trees)
    assert np.isfinite(shown.maps[0].values).sum() == len(trees)
    assert np.isfinite(shown.maps[1].values).sum() == sum(np.isin(grid.levels[1].parent, state.zoomed)), (
        "of the patches inside those that it zoomed into"
    )
    there = np.isfinite(shown.maps[0].values)
    np.testing.assert_allclose(shown.maps[0].values[there], all_of_it.maps[0].values[there], atol=1e-5)
    held = np.isin(trees[state.output.steps[0].rows], TAUGHT)
    weights = state.output.steps[0].attention.softmax(0).numpy()
    assert state.figures["attention_on_points_5x"] == pytest.approx(weights[held].sum(), abs=1e-4)


def test_a_model_that_is_being_taught_is_looked_at_as_in_use(tissue: Path, model: str) -> None:
    with probing(tissue, model) as probe:
        first, _, _ = measured(probe)
        probe.loaded.model.train()
        again, _, _ = measured(probe, "after")
        assert not probe.loaded.model.training
    assert first.figures == again.figures
