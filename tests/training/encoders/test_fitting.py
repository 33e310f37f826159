from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.encoders.convolutional import EncoderSizes
from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.partners import DecoderSizes
from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.training.encoders.fitting import codes_of, fit_encoder, fit_in, lengths, untrained
from napari_zoommil.training.encoders.module import Plateau
from napari_zoommil.training.encoders.patches import Source, beside, divided, patch_set
from napari_zoommil.training.encoders.recipe import (
    GEOMETRIC,
    METHODS,
    NO_AUGMENTATION,
    EncoderRecipe,
    Method,
    recipe_of,
)
from napari_zoommil.training.run import RunFolder

CPU = Device(torch.device("cpu"), "")


def bars(count: int = 400, seed: int = 0) -> Source:
    """Grey patches with a bar across or down, dim or bright, on 20 images of 5 × 4 patches."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    pixels = rng.integers(0, 30, (count, 9, 9))
    for patch, label in zip(pixels, labels, strict=True):
        at, value = rng.integers(1, 7), rng.integers(120, 225)
        turned = patch if label else patch.T
        turned[at : at + 2] += value
    images, place = np.arange(count) // 20, np.arange(count) % 20
    neighbours = beside(images, np.stack([place // 4, place % 4], 1))
    made = patch_set(pixels.astype(np.uint8), labels=labels, images=images, neighbours=neighbours)
    return divided(made, shares=(0.2, 0.2))


def small(method: Method, **settings: object) -> EncoderRecipe:
    """A recipe for a few steps of a tiny network."""
    sizes = EncoderSizes(9, 1, (8, 8), 0 if method == "bigan" else 16, 4)
    own = replace(recipe_of(method, "synthetic"), sizes=sizes, decoder=DecoderSizes(8), head=16, batch=16)
    return replace(own, **{"steps": 6, "steps_per_epoch": 3, "most_validated": 32, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_a_training_is_the_same_again_and_changes_the_weights(method: Method) -> None:
    source, recipe = bars(), small(method)
    first, second = (fit_encoder(source, method, recipe, seed=3) for _ in range(2))
    new = untrained(recipe, 3)
    codes = first.codes(source.val)
    assert codes.shape == (len(source.val), 4)
    np.testing.assert_array_equal(codes, second.codes(source.val))
    assert not np.allclose(codes, codes_of(new, source.val.pixels))
    assert first.metrics["steps"] == 6
    assert len(first.curves) == 2
    assert "val_loss" in first.metrics


@pytest.mark.parametrize("method", ["vae", "bigan"])
def test_a_resumed_training_equals_an_uninterrupted_one(method: Method, tmp_path: Path) -> None:
    source, recipe = bars(), small(method, steps=9)
    whole = fit_encoder(source, method, recipe, seed=1)
    run = RunFolder(tmp_path, {})
    steps = fit_in(run, source, method, recipe, run.begin(False), CPU, 1)
    for step in steps:
        if step.epoch == 1 and step.step >= 4:
            break
    steps.close()
    checkpoint = run.begin(True)
    assert checkpoint is not None
    again = fit_in(run, source, method, recipe, checkpoint, CPU, 1)
    while True:
        try:
            next(again)
        except StopIteration as stop:
            resumed = stop.value
            break
    assert resumed.curves == whole.curves
    np.testing.assert_array_equal(resumed.codes(source.val), whole.codes(source.val))


def test_the_most_steps_are_not_exceeded() -> None:
    fitted = fit_encoder(bars(), "vae", small("vae", steps=7, steps_per_epoch=3))
    assert fitted.metrics["steps"] == 6
    assert lengths(small("vae", steps=250, steps_per_epoch=100), 6_000) == (3, 83)
    assert lengths(small("vae", steps=2, steps_per_epoch=100), 6_000) == (1, 2)
    for method in METHODS:
        for name in ("cpu", "synthetic"):
            recipe = recipe_of(method, name)
            epochs, steps = lengths(recipe, 6_000)
            assert epochs * steps == recipe.steps and steps == recipe.steps_per_epoch


def test_a_vae_learns_to_reconstruct() -> None:
    recipe = small("vae", steps=120, steps_per_epoch=40, augmentation=NO_AUGMENTATION)
    fitted = fit_encoder(bars(), "vae", recipe)
    losses = [line["val_reconstruction"] for line in fitted.curves]
    assert losses[-1] < 0.75 * losses[0]


def test_supervision_learns_the_classes_and_keeps_the_best_epoch() -> None:
    source = bars()
    fitted = fit_encoder(source, "supervised", small("supervised", steps=120, steps_per_epoch=20))
    best = max(line["val_accuracy"] for line in fitted.curves)
    assert fitted.metrics["val_accuracy"] == best
    assert best > 0.9


def test_the_plateau_lowers_the_rate_to_its_least_and_ends_the_training() -> None:
    """A learning rate at which nothing is learnt: 1e-9 to 1e-10, then the end, long before 300 steps."""
    recipe = small("vae", steps=300, learning_rate=1e-9, least_rate=1e-10, patience=1, augmentation=GEOMETRIC)
    fitted = fit_encoder(bars(), "vae", recipe)
    assert 6 < fitted.metrics["steps"] < 300


def test_the_plateau_goes_on_where_it_was() -> None:
    first, second = (Plateau(small("vae"), "val_loss", "min") for _ in range(2))
    first.best, first.waited, first.ended = 0.5, 2, True
    second.load_state_dict(first.state_dict())
    assert (second.best, second.waited, second.ended) == (0.5, 2, True)


def test_the_caller_hears_of_each_step_and_can_cancel() -> None:
    seen = []

    def stop(step: object) -> None:
        seen.append(step)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_encoder(bars(), "vae", small("vae", steps=30_000), on_step=stop)
    assert len(seen) == 3


def test_supervision_needs_labels_of_each_class() -> None:
    source = bars()
    with pytest.raises(CohortError, match="two classes"):
        fit_encoder(Source(source.train.rows(source.train.labels == 0), source.val), "supervised")


def test_too_few_patches_are_refused() -> None:
    source = bars()
    with pytest.raises(CohortError, match="3 patches to validate"):
        fit_encoder(Source(source.train, source.val.rows([0, 1, 2])), "vae")


def test_unknown_methods_and_recipes_are_named() -> None:
    with pytest.raises(ModelError, match="no method 'gan'"):
        recipe_of("gan")
    with pytest.raises(ModelError, match="no recipe 'fast'"):
        recipe_of("vae", "fast")


def test_a_fitted_network_is_an_encoder_of_rgb_patches_of_any_size() -> None:
    source = bars()
    fitted = fit_encoder(source, "vae", small("vae"))
    encoder = fitted.encoder("made", "CC0")
    grey = source.val.pixels[:5]
    same = encoder(np.repeat(grey, 3, axis=3)).numpy()
    np.testing.assert_allclose(same, fitted.codes(grey), atol=1e-5)
    assert encoder(np.zeros((2, 33, 33, 3), np.uint8)).shape == (2, 4)
