"""``finetune`` of a MIL model: its attention is trained with points on one slide, the encoder is frozen."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations import Points
from napari_zoommil.errors import AnnotationError
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.jobs.attention_change import AttentionProbe
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.finetuning import (
    FineTuning,
    LossName,
    PresetName,
    points_on,
    provenance,
    trained_before_in,
)
from napari_zoommil.jobs.loading import Loaded, loaded, open_own
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.zoom import encode
from napari_zoommil.model_card import model_card
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import FINISHED, RunFolder, is_trained, require_elsewhere, working_in

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag
    from napari_zoommil.models.mil import MILOutput
    from napari_zoommil.models.spec import ModelSpec
    from napari_zoommil.training.mil.points import AnnotatedBag, PointRecipe
    from napari_zoommil.training.mil.targets import Marks, Targets

WHOLE = 4
"""Largest number of patches that a pass over the whole slide may encode, in multiples of the training
patches; if it would encode more, before and after are measured on the training patches only."""


def finetune_mil(
    slide: Path | Slide,
    annotations: Path | Points,
    model: str,
    *,
    out: Path,
    encoder: str | None,
    loss: LossName | None,
    preset: PresetName,
    epochs: int | None,
    learning_rate: float | None,
    seed: int,
    label: str | None,
    patches: int,
    mpp: float | None,
    icc: bool,
    device: str,
    threads: int | None,
    store: Path | None,
    resume: bool,
    overwrite: bool,
) -> Job[FineTuning]:
    """Fine-tune the attention of a MIL model; parameters are those of :func:`napari_zoommil.jobs.finetune`.

    Yields
    ------
    Progress
        ``partial`` is a :class:`FitStep` during training, and :class:`AttentionMaps` before and after.
    """
    from napari_zoommil.bags import CachedBag
    from napari_zoommil.bags.cache import open_cache
    from napari_zoommil.training.mil.points import point_recipe
    from napari_zoommil.training.mil.targets import choose_trees, marks_of, patch_targets

    started = time.perf_counter()
    with ExitStack() as stack:
        require_elsewhere(out, model)
        stack.enter_context(working_in(out, overwrite, resume))
        own = stack.enter_context(open_own(slide, mpp, icc))
        told = points_on(own, annotations)
        points = told.points
        yield Progress(0, 1, "loading the model")
        with_model = stack.enter_context(loaded(model, device, threads, encoder, to_train=True))
        spec, cache = with_model.spec, open_cache(store)
        marks = marks_of(points, spec.class_names, label)
        recipe = point_recipe(preset, loss, epochs=epochs, learning_rate=learning_rate, seed=seed)
        classes = tuple(one for one in points.classes if one.name in marks.classes)
        counts = {one.name: told.counts[one.name] for one in classes}
        asked = {"label": marks.label, "most_patches": patches}
        if resume and is_trained(out):
            yield Progress(1, 1, FINISHED)
            return trained_before_in(out, told, model, recipe, classes, counts, **asked)
        _require_attention(with_model)
        how, detector = (spec.magnifications, spec.patch_size, spec.min_tissue), spec.tissue_detector
        key = grid_key(own, *how, tissue_detector=detector)
        grid = yield from find_patches(own, cache, key, tissue_detector=detector)
        targets = patch_targets(grid, marks.coordinates, list(points.complete.values()), marks.others)
        if not any((one > 0).any() for one in targets):
            raise AnnotationError(f"no point lies on the tissue of {own.name}; add a few there first")
        bag = CachedBag(cache, own, grid, with_model.encoder)
        seen = _seen(with_model, grid, targets, patches, seed)
        probe = AttentionProbe(with_model, bag, targets, seen, marks.label)
        before = yield from probe.measure("before")
        rng = np.random.default_rng(seed)
        trees = choose_trees(grid, targets, before.zoomed, patches, rng)
        truth = _truth(marks, before.output, spec)
        annotated = yield from _annotated(bag, targets, trees, truth, marks.label)
        size = sum(len(one) for one in annotated.targets)
        run = RunFolder(out, provenance(told, model, recipe, patches=size, **asked))
        run.begin(resume=False)
        yield from _fit(with_model, recipe, annotated, run)
        after = yield from probe.measure("after")
        metrics = {f"before_{name}": value for name, value in before.figures.items()} | after.figures
        made_of = run.provenance | {"metrics": metrics}
        _save(out, with_model, replace(spec, training=spec.training | {"points": made_of}))
        run.finish(metrics)
        seconds = round(time.perf_counter() - started, 1)
        return FineTuning(out, classes, counts, 0, 0, metrics, seconds, "mil", size, told.off_slide)


def _require_attention(with_model: Loaded) -> None:
    """Refuse a model without attention, before any patch is read."""
    import torch

    with torch.no_grad():
        with_model.model.attention_logits(
            0, torch.zeros(1, with_model.model.in_features, device=with_model.device.torch)
        )


def _seen(with_model: Loaded, grid: PatchGrid, targets: Targets, patches: int, seed: int) -> Rows | None:
    """Patches of the lowest magnification that a pass covers; None for the whole slide."""
    from napari_zoommil.training.mil.targets import choose_trees

    needed = with_model.model.patches_needed(tuple(map(len, grid.levels)), grid.ratios)
    if sum(needed) <= WHOLE * patches:
        return None
    return choose_trees(grid, targets, np.empty(0, np.int64), patches, np.random.default_rng(seed))


def _truth(marks: Marks, before: MILOutput, spec: ModelSpec) -> NDArray[np.float32]:
    """(C,) target of the bag: the slide's class, or its prediction before the training."""
    if marks.label is None:
        return spec.task.link(before.logits).cpu().numpy()
    return np.eye(len(spec.class_names), dtype=np.float32)[spec.class_names.index(marks.label)]


def _annotated(
    bag: CachedBag, targets: Targets, trees: Rows, truth: NDArray[np.float32], label: str | None
) -> Job[AnnotatedBag]:
    """Encode the training patches and return them with their targets."""
    import torch

    from napari_zoommil.bags.subgrid import TensorBag, subtrees
    from napari_zoommil.training.mil.points import AnnotatedBag

    grid, rows = subtrees(bag.grid, trees)
    for level, wanted in enumerate(rows):
        yield from encode(bag, level, wanted, "for training, ")
    features = tuple(bag.features(level, wanted) for level, wanted in enumerate(rows))
    tensors = tuple(torch.from_numpy(own[wanted]) for own, wanted in zip(targets, rows, strict=True))
    return AnnotatedBag(TensorBag(grid, features, bag.encoder_hash), tensors, torch.from_numpy(truth), label)


def _fit(with_model: Loaded, recipe: PointRecipe, annotated: AnnotatedBag, run: RunFolder) -> Job[None]:
    """Train the model in place."""
    from napari_zoommil.training.callbacks import CurveWriter
    from napari_zoommil.training.fit import fit_steps
    from napari_zoommil.training.mil.points import COLUMNS, PointModule, one_step

    steps = fit_steps(
        PointModule(with_model.model, recipe, annotated),
        one_step(),
        epochs=recipe.epochs,
        device=with_model.device,
        callbacks=[CurveWriter(run, COLUMNS)],
        seed=recipe.seed,
    )
    with closing(steps):
        for step in steps:
            note = f"epoch {step.epoch + 1} of {recipe.epochs}, loss {step.metrics['train_loss']:.3f}"
            yield Progress(step.step, step.total, note, step)


def _save(out: Path, with_model: Loaded, spec: ModelSpec) -> None:
    from napari_zoommil.models.spec import save_model

    about = spec.training["points"]
    card = model_card(
        f"{spec.architecture}: {', '.join(spec.class_names)}",
        f"Its attention was fine-tuned from `{about['model']}` on {about['points']}, points on one slide, "
        "which the figures are of.",
        about["metrics"],
        tags=["multiple-instance-learning"],
    )
    save_model(out, with_model.model, spec, card, with_model.familiarity)  # it has read no other slides
