"""``finetune`` of a MIL model: points on one slide teach its attention, the encoder stays as it is."""

from __future__ import annotations

import csv
import json
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.annotations import Points
from napari_zoommil.errors import AnnotationError
from napari_zoommil.files import write_file
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.jobs.attention_change import Watch, encode
from napari_zoommil.jobs.features import find_patches, grid_key
from napari_zoommil.jobs.finetune import FineTuning, Loss, Preset, provenance
from napari_zoommil.jobs.loading import Loaded, loaded, open_own
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag
    from napari_zoommil.models.mil import MILOutput
    from napari_zoommil.models.spec import ModelSpec
    from napari_zoommil.training.mil.points import Lesson, PointRecipe
    from napari_zoommil.training.mil.targets import Marks, Targets


RUN, CURVES = "run.json", "curves.csv"
COLUMNS = ("epoch", "train_loss", "bag_loss", "point_loss")

WHOLE = 4
"""A pass over the whole slide may encode so many times the patches that a lesson has; where it would
encode more, before and after are told of the lesson's part of the slide."""


def finetune_mil(
    slide: Path | Slide,
    annotations: Path | Points,
    model: str,
    *,
    out: Path,
    loss: Loss | None = None,
    preset: Preset = "interactive",
    epochs: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    label: str | None = None,
    patches: int = 2048,
    mpp: float | None = None,
    icc: bool = False,
    device: str = "auto",
    threads: int | None = None,
    store: Path | None = None,
) -> Job[FineTuning]:
    """Teach a MIL model where to look; parameters are those of :func:`napari_zoommil.jobs.finetune`.

    Parameters
    ----------
    store : Path, optional
        Folder of features: what it holds is not encoded again. One in the user's cache by default.

    Yields
    ------
    Progress
        ``partial`` holds a :class:`FitStep` while it trains, and :class:`AttentionMaps` before and after.
    """
    from napari_zoommil.bags.cache import open_cache
    from napari_zoommil.training.mil.points import point_recipe
    from napari_zoommil.training.mil.targets import choose_trees, marks_of, patch_targets

    started = time.perf_counter()
    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")
        taught = stack.enter_context(loaded(model, device, threads))
        spec, cache = taught.spec, open_cache(store)
        points = annotations if isinstance(annotations, Points) else Points.read(annotations)
        marks = marks_of(points, spec.class_names, label)
        recipe = point_recipe(preset, loss, epochs=epochs, learning_rate=learning_rate, seed=seed)
        _require_attention(taught)
        key = grid_key(own, spec.magnifications, spec.patch_size, spec.min_tissue)
        grid = yield from find_patches(own, cache, key)
        targets = patch_targets(grid, marks.coordinates, list(points.complete.values()), marks.others)
        if not any((one > 0).any() for one in targets):
            raise AnnotationError(f"no point lies on the tissue of {own.name}; mark a few places there first")
        bag = cache.bag(own, grid, taught.encoder)
        watch = Watch(taught, bag, targets, _seen(taught, grid, targets, patches, seed))
        before = yield from watch.look("before")
        rng = np.random.default_rng(seed)
        trees = choose_trees(grid, targets, before.zoomed, patches, rng)
        lesson = yield from _lesson(bag, targets, trees, _truth(marks, before.output, spec))
        size = sum(len(one) for one in lesson.targets)
        about = provenance(own, points, model, recipe, patches=size, label=marks.label)
        _write(out / RUN, about)
        curves = yield from _fit(taught, recipe, lesson)
        after = yield from watch.look("after")
        metrics = {f"before_{name}": value for name, value in before.figures.items()} | after.figures
        _save(out, taught, replace(spec, training=spec.training | {"points": about | {"metrics": metrics}}))
        _write_curves(out / CURVES, curves)
        _write(out / RUN, about | {"metrics": metrics})
        counts = {name: count for name, count in points.counts.items() if name in marks.classes}
        classes = tuple(one for one in points.classes if one.name in marks.classes)
        seconds = round(time.perf_counter() - started, 1)
        return FineTuning(out, classes, counts, 0, 0, metrics, seconds, "mil", size)


def _require_attention(taught: Loaded) -> None:
    """Refuse a model without attention before a patch is read."""
    import torch

    with torch.no_grad():
        taught.model.attention_logits(0, torch.zeros(1, taught.model.in_features, device=taught.device.torch))


def _seen(taught: Loaded, grid: PatchGrid, targets: Targets, patches: int, seed: int) -> Rows | None:
    """Patches of the lowest magnification that a pass is shown; None where it is shown the whole slide."""
    from napari_zoommil.training.mil.targets import choose_trees

    needed = taught.model.patches_needed(tuple(map(len, grid.levels)), grid.ratios)
    if sum(needed) <= WHOLE * patches:
        return None
    return choose_trees(grid, targets, np.empty(0, np.int64), patches, np.random.default_rng(seed))


def _truth(marks: Marks, before: MILOutput, spec: ModelSpec) -> NDArray[np.float32]:
    """(C,) what the bag's probabilities shall be: the slide's class, or what they were."""
    if marks.label is None:
        return before.probabilities.cpu().numpy()
    return np.eye(len(spec.class_names), dtype=np.float32)[spec.class_names.index(marks.label)]


def _lesson(bag: CachedBag, targets: Targets, trees: Rows, truth: NDArray[np.float32]) -> Job[Lesson]:
    """Encode what is to be learnt from."""
    import torch

    from napari_zoommil.bags.subgrid import TensorBag, subtrees
    from napari_zoommil.training.mil.points import Lesson

    grid, rows = subtrees(bag.grid, trees)
    for level, wanted in enumerate(rows):
        yield from encode(bag, level, wanted, "to learn from, ")
    features = tuple(bag.features(level, wanted) for level, wanted in enumerate(rows))
    taught = tuple(torch.from_numpy(own[wanted]) for own, wanted in zip(targets, rows, strict=True))
    return Lesson(TensorBag(grid, features), taught, torch.from_numpy(truth))


def _fit(taught: Loaded, recipe: PointRecipe, lesson: Lesson) -> Job[list[dict[str, float]]]:
    """Train; returns a line of the curves for each epoch."""
    import lightning as L

    from napari_zoommil.training.fit import accelerator, fit_steps
    from napari_zoommil.training.mil.points import PointModule, one_step

    L.seed_everything(recipe.seed, verbose=False)
    steps = fit_steps(
        PointModule(taught.model, recipe, lesson),
        one_step(),
        max_epochs=recipe.epochs,
        logger=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **accelerator(taught.device),
    )
    lines = []
    with closing(steps):
        for step in steps:
            lines.append({"epoch": float(step.epoch)} | {name: step.metrics[name] for name in COLUMNS[1:]})
            note = f"epoch {step.epoch + 1} of {recipe.epochs}, loss {step.metrics['train_loss']:.3f}"
            yield Progress(step.step, step.total, note, step)
    return lines


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _write_curves(path: Path, lines: list[dict[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in line.items()} for line in lines)


def _save(out: Path, taught: Loaded, spec: ModelSpec) -> None:
    from napari_zoommil.models.spec import save_model

    about = spec.training["points"]
    figures = "\n".join(f"| {name.replace('_', ' ')} | {v:.3f} |" for name, v in about["metrics"].items())
    card = (
        "---\nlibrary_name: napari-zoommil\ntags: [whole-slide-image, multiple-instance-learning]\n---\n\n"
        f"# {spec.architecture}: {', '.join(spec.class_names)}\n\nIts attention was fine-tuned from "
        f"`{about['model']}` on {about['points']}, points on one slide, which the figures are of.\n\n"
        f"| figure | value |\n| --- | --- |\n{figures}\n"
    )
    save_model(out, taught.model, spec, card)
