"""An encoder fitted to patches in memory, by a method and a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder
from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.encoder import Encoder
from napari_zoommil.encoders.folder import as_encoder
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.errors import CohortError, ModelError
from napari_zoommil.files import temporary_folder
from napari_zoommil.training.callbacks import CurveWriter, SeededSteps, best_checkpoint, last_checkpoint
from napari_zoommil.training.encoders.bigan import BiGAN
from napari_zoommil.training.encoders.contrastive import Contrastive
from napari_zoommil.training.encoders.draws import InOrder, Pairs, Shuffled, Singles, batches
from napari_zoommil.training.encoders.module import EncoderModule, Plateau, to_edge
from napari_zoommil.training.encoders.patches import PatchSet, Source
from napari_zoommil.training.encoders.recipe import EncoderRecipe, Method, recipe_of
from napari_zoommil.training.encoders.supervised import Supervised
from napari_zoommil.training.encoders.vae import VAE
from napari_zoommil.training.fit import FitStep, fit_steps
from napari_zoommil.training.run import BEST, CurveLines, RunFolder, read_curves

FEWEST = 8
"""Patches to train and to validate on without which no encoder is trained."""

ENCODED_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """A trained encoder, on the CPU.

    Attributes
    ----------
    network : ConvolutionalEncoder
    method : str
    recipe : EncoderRecipe
        With the input's channels as they were.
    metrics : dict of str to float
        ``val_*`` of the kept epoch, ``steps``, and of a contrastive training ``pairs_adjacent``, the share of
        the pairs of different places that are adjacent.
    curves : tuple of dict
        Metrics of each epoch.
    """

    network: ConvolutionalEncoder
    method: Method
    recipe: EncoderRecipe
    metrics: dict[str, float]
    curves: CurveLines

    def codes(self, patches: PatchSet | NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, C) codes of (n, p, p, c) patches."""
        pixels = patches.pixels if isinstance(patches, PatchSet) else patches
        return codes_of(self.network, pixels)

    def encoder(self, name: str, licence: str = "") -> Encoder:
        """As an encoder of the registry, for RGB patches of any size."""
        return as_encoder(name, self.network, licence)


def untrained(recipe: EncoderRecipe, seed: int = 0) -> ConvolutionalEncoder:
    """A network of a recipe with random weights: the control that a trained one has to beat."""
    with own_random_numbers(seed):
        return ConvolutionalEncoder(recipe.sizes).eval()


@torch.inference_mode()
def codes_of(network: ConvolutionalEncoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, C) codes of (n, p, p, c) uint8 patches, on the CPU."""
    network.eval()
    array = pixels[..., None] if pixels.ndim == 3 else pixels
    parts = []
    for start in range(0, len(array), ENCODED_AT_ONCE):
        part = torch.from_numpy(np.ascontiguousarray(array[start : start + ENCODED_AT_ONCE]))
        images = to_edge(part.permute(0, 3, 1, 2).float() / 255, network.sizes.edge)
        parts.append(network(images * 2 - 1).numpy())
    return np.concatenate(parts) if parts else np.empty((0, network.sizes.code), np.float32)


def fit_encoder(
    source: Source,
    method: Method,
    recipe: EncoderRecipe | str = "cpu",
    *,
    device: Device | None = None,
    seed: int = 0,
    on_step: Callable[[FitStep], None] | None = None,
) -> FittedEncoder:
    """Train an encoder on patches; nothing is written.

    Parameters
    ----------
    source : Source
        Patches to train and to validate on, see :func:`~napari_zoommil.training.encoders.patches.patch_set`
        and :func:`~napari_zoommil.training.encoders.patches.divided`. Supervised training takes those with a
        label.
    method : {"vae", "contrastive", "bigan", "supervised"}
    recipe : EncoderRecipe or {"cpu", "paper", "synthetic"}
    device : Device, optional
        The CPU by default.
    seed : int
        Of weights, order, augmentation and noise; the result is the same on the same machine.
    on_step : callable, optional
        Called after each batch; an exception in it cancels the training.

    Raises
    ------
    CohortError
        If patches or classes are too few for the method.
    ModelError
        If there is no such method or recipe.

    Examples
    --------
    >>> patches = patch_set(pixels, labels=labels, groups=patients)      # (n, p, p) or (n, p, p, 3) uint8
    >>> fitted = fit_encoder(divided(patches), "vae", recipe_of("vae", "synthetic"))
    >>> codes = fitted.codes(patches)                                     # (n, C) float32
    """
    with temporary_folder() as folder:
        run = RunFolder(folder, {})
        steps = fit_in(run, source, method, recipe, None, device, seed)
        with closing(steps):
            while True:
                try:
                    step = next(steps)
                except StopIteration as stop:
                    return stop.value
                if on_step is not None:
                    on_step(step)


def fit_in(
    run: RunFolder,
    source: Source,
    method: Method,
    recipe: EncoderRecipe | str,
    checkpoint: Path | None,
    device: Device | None = None,
    seed: int = 0,
) -> Generator[FitStep, None, FittedEncoder]:
    """:func:`fit_encoder` in a run folder, as a generator.

    Parameters
    ----------
    run : RunFolder
        Folder for curves and checkpoints.
    checkpoint : Path, optional
        From which to resume.
    """
    recipe = recipe_of(method, recipe) if isinstance(recipe, str) else recipe
    recipe = replace(recipe, sizes=replace(recipe.sizes, channels=source.train.channels))
    source = checked(source, method)
    with own_random_numbers(seed):
        module = module_of(method, recipe, len(source.train.classes))
    train, val = (Pairs(part) if module.pairs else Singles(part) for part in (source.train, source.val))
    epochs, per_epoch = lengths(recipe, len(source.train))
    callbacks: list[Callback] = [CurveWriter(run, module.columns), SeededSteps(seed)]
    if recipe.plateau:
        callbacks += [Plateau(recipe, module.monitor, module.mode)]
        callbacks += [best_checkpoint(run, module.monitor, module.mode)]
    steps = fit_steps(
        module,
        batches(train, Shuffled(len(source.train), recipe.batch, per_epoch, seed)),
        batches(val, InOrder(len(source.val), recipe.batch, recipe.most_validated, seed)),
        epochs=epochs,
        device=device,
        callbacks=[*callbacks, last_checkpoint(run)],
        resume=checkpoint,
    )
    with closing(steps):
        yield from steps
    if recipe.plateau:
        state = torch.load(run.folder / BEST, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
    curves = read_curves(run.folder)
    metrics = _kept(curves, module, recipe.plateau) | {"steps": float(len(curves) * per_epoch)}
    if isinstance(train, Pairs):
        metrics["pairs_adjacent"] = train.adjacent_share
    return FittedEncoder(module.encoder.cpu().eval(), method, recipe, metrics, curves)


def lengths(recipe: EncoderRecipe, patches: int) -> tuple[int, int]:
    """Epochs, and steps of each, which in all are not more than the recipe's steps.

    All epochs are of one length, because each ends with a validation: 250 steps by epochs of 100 are three
    epochs of 83.
    """
    longest = min(recipe.steps, recipe.steps_per_epoch or math.ceil(patches / recipe.batch))
    epochs = math.ceil(recipe.steps / longest)
    return epochs, recipe.steps // epochs


def module_of(method: Method, recipe: EncoderRecipe, classes: int = 0) -> EncoderModule:
    """The training of a method, with new weights.

    Raises
    ------
    ModelError
        If there is no such method.
    """
    if method == "supervised":
        return Supervised(recipe, classes)
    others: dict[str, type[EncoderModule]] = {"vae": VAE, "contrastive": Contrastive, "bigan": BiGAN}
    if method not in others:
        raise ModelError(f"there is no method {method!r} to train an encoder")
    return others[method](recipe)


def checked(source: Source, method: Method) -> Source:
    """The patches that a method can use.

    Raises
    ------
    CohortError
        If these are too few, or there are fewer than two classes to learn.
    """
    if method == "supervised":
        source = Source(source.train.labelled, source.val.labelled, source.test and source.test.labelled)
        named = len(np.unique(source.train.labels))
        if len(source.train.classes) < 2 or named < len(source.train.classes):
            raise CohortError(
                f"supervised training needs patches of each of two classes or more; there are {named} of "
                f"{len(source.train.classes)} among the training patches"
            )
    for part, patches in (("train", source.train), ("validate", source.val)):
        if len(patches) < FEWEST:
            raise CohortError(f"there are {len(patches)} patches to {part} on; at least {FEWEST} are needed")
    return source


def _kept(curves: CurveLines, module: EncoderModule, best: bool) -> dict[str, float]:
    """Validation metrics of the epoch whose weights were kept."""
    lines = [line for line in curves if module.monitor in line]
    if not lines:
        return {}
    choose = min if module.mode == "min" else max
    line = choose(lines, key=lambda one: one[module.monitor]) if best else lines[-1]
    return {name: value for name, value in line.items() if name.startswith("val_")}
