"""``train``: a labelled cohort to a model folder; features are embedded first where they are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from napari_zoommil import __version__
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.embed import embed
from napari_zoommil.jobs.many_slides import make_ready, with_next_ready
from napari_zoommil.jobs.parameters import Range
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_card import model_card
from napari_zoommil.training.run import BEST, RunFolder, working_in

SHOWN = ("train_loss", "val_loss")
"""Metrics that a fit's progress names."""

if TYPE_CHECKING:
    from napari_zoommil.bags import StoredBag
    from napari_zoommil.models.spec import ModelSpec
    from napari_zoommil.training.mil.cohort import Entry


@dataclass(frozen=True)
class Training:
    """A trained model and how it did.

    Attributes
    ----------
    model : Path
    class_names : tuple of str
    metrics : dict of str to float
        ``val_*`` of the kept epoch, and ``test_*`` where the cohort has test slides.
    """

    model: Path
    class_names: tuple[str, ...]
    metrics: dict[str, float]


def train(
    cohort: Path,
    model: str = "zoommil",
    *,
    store: Path,
    out: Path,
    encoder: str = "nic",
    magnifications: tuple[float, ...] = (5.0, 10.0, 20.0),
    patch_size: Annotated[int, Range(16, 4096, unit="px")] = 256,
    min_tissue: Annotated[float, Range(0, 1, 0.05)] = 0.1,
    k: Annotated[int, Range(1, 10_000, unit="patches")] = 16,
    epochs: Annotated[int, Range(1, 10_000)] = 100,
    learning_rate: Annotated[float, Range(1e-6, 1e-1, log=True)] = 1e-4,
    seed: Annotated[int, Range(0, 2**31)] = 0,
    mpp: Annotated[float | None, Range(0.02, 50, unit="µm/px")] = None,
    icc: bool = False,
    device: str = "auto",
    resume: bool = False,
) -> Job[Training]:
    """Train a MIL model on slides with one label each.

    Parameters
    ----------
    cohort : Path
        Table with the columns slide and label, and optionally split (train, val, test) and group.
    model : str
        Architecture.
    store : Path
        Folder of feature stores.
    out : Path
        Model folder to write.
    encoder : str
        nic, resnet50, mean-rgb, a timm name, hf-hub:owner/name, or a TorchScript file, which is code and
        is run.
    magnifications : tuple of float
        Rising by whole factors.
    patch_size : int
        Edge of a patch, the same at every magnification.
    min_tissue : float
        Least tissue share of a patch at the lowest magnification.
    k : int
        Patches zoomed into at each step.
    epochs : int
        Passes over the training slides.
    learning_rate : float
        Of Adam.
    seed : int
        Of weights, order and split.
    mpp : float, optional
        Pixel size of level 0 of all slides, where they do not state it.
    icc : bool
        Convert pixels to sRGB by the slides' colour profiles, where they have one.
    device : str
        auto, cpu, cuda, cuda:1, mps.
    resume : bool
        Go on with a training of this folder that was cut off, if there is one.

    Returns
    -------
    Training

    Raises
    ------
    CohortError
        If the table is malformed, contradicts itself, or lacks training or validation slides.
    ModelError
        If ``out`` cannot be written to, or holds another training to go on with, or a finished one.
    """
    from napari_zoommil.training.mil.cohort import class_names, read_cohort

    entries = read_cohort(cohort, seed)
    classes = class_names(entries)
    reading: dict[str, Any] = {
        "magnifications": magnifications,
        "patch_size": patch_size,
        "min_tissue": min_tissue,
        "mpp": mpp,
        "icc": icc,
    }
    config = {"magnifications": magnifications, "k": k, "classes": len(classes)}
    recipe_args = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    with working_in(out):
        bags: dict[Path, StoredBag] = {}
        with closing(with_next_ready([e.slide for e in entries], partial(make_ready, **reading))) as slides:
            for number, slide in enumerate(slides, 1):
                job = embed(slide, encoder, store=store, device=device, **reading)
                result = yield from _titled(job, f"slide {number} of {len(entries)}: ")
                bags[slide] = _bag(result.store)
        from napari_zoommil.encoders.trust import name_in_folder  # brings torch, as the embedding did

        description = {"patch_size": patch_size, "min_tissue": min_tissue, "encoder": name_in_folder(encoder)}
        found = (entries, classes, bags)
        return (yield from _fit(model, config, recipe_args, description, *found, out, device, resume))


def _titled(job: Job[Any], title: str) -> Job[Any]:
    """A job whose notes begin with what it is part of."""
    try:
        while True:
            progress = next(job)
            yield Progress(progress.done, progress.total, title + progress.note, progress.partial)
    except StopIteration as stop:
        return stop.value
    finally:
        job.close()


def _bag(path: Path) -> StoredBag:
    from napari_zoommil.bags import FeatureStore, StoredBag

    return StoredBag(FeatureStore.open(path))


def _fit(
    architecture: str,
    config: dict[str, Any],
    recipe_args: dict[str, Any],
    description: dict[str, Any],
    entries: Sequence[Entry],
    classes: tuple[str, ...],
    bags: dict[Path, StoredBag],
    out: Path,
    device: str,
    resume: bool,
) -> Job[Training]:
    import torch

    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model
    from napari_zoommil.training.callbacks import CurveWriter, SeededSteps, best_checkpoint, last_checkpoint
    from napari_zoommil.training.fit import TrainerFlags, fit_steps, own_random_numbers
    from napari_zoommil.training.mil.module import COLUMNS, MILModule, MILRecipe, loader

    recipe = MILRecipe(**recipe_args)
    features = next(iter(bags.values())).store
    with own_random_numbers(recipe.seed):
        mil = create(architecture, in_features=features.dim, **config)
    examples = {
        split: [(bags[e.slide], classes.index(e.label)) for e in entries if e.split == split]
        for split in ("train", "val", "test")
    }
    slides = {split: len(found) for split, found in examples.items()}
    made_of = {"model": architecture, "config": mil.config(), "classes": classes} | description
    run = RunFolder(
        out,
        made_of
        | {"encoder_hash": features.key.encoder_hash, "slides": slides, "cohort": _digest(entries)}
        | {"settings": recipe_args, "versions": {"napari_zoommil": __version__, "torch": torch.__version__}},
    )
    checkpoint = run.begin(resume)
    module = MILModule(mil, recipe)
    chosen = choose_device(device)
    curves, seeded = CurveWriter(run, COLUMNS), SeededSteps(recipe.seed)
    steps = fit_steps(
        module,
        loader(examples["train"], recipe),
        loader(examples["val"]),
        epochs=recipe.epochs,
        flags=TrainerFlags.on(chosen),
        callbacks=[curves, seeded, best_checkpoint(run, "val_loss"), last_checkpoint(run)],
        resume=checkpoint,
    )
    with closing(steps):
        for step in steps:
            shown = " ".join(f"{name} {step.metrics[name]:.3f}" for name in SHOWN if name in step.metrics)
            yield Progress(step.step, step.total, f"epoch {step.epoch + 1} of {recipe.epochs} {shown}", step)
    state = torch.load(out / BEST, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])
    metrics: dict[str, float] = {}
    for split in ("val", "test"):
        metrics |= yield from evaluate(mil, examples[split], split)
    spec = ModelSpec(
        architecture,
        mil.config(),
        description["encoder"],
        features.key.encoder_hash,
        description["patch_size"],
        classes,
        description["min_tissue"],
        {"slides": slides, **recipe_args, "metrics": metrics},
    )
    save_model(out, mil, spec, card(spec))
    run.finish(metrics)
    return Training(out, classes, metrics)


def _digest(entries: Sequence[Entry]) -> str:
    """Tells cohorts apart without naming slides, for names can tell who the patients are."""
    told = sorted((entry.slide.name, entry.label, entry.split) for entry in entries)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def evaluate(mil: Any, examples: list[Any], split: str) -> Job[dict[str, float]]:
    """Accuracy and mean cross-entropy over bags, one by one."""
    import torch

    if not examples:
        return {}
    mil.cpu().eval()
    found = []
    for bag, _ in examples:
        with torch.no_grad():
            found.append(mil(bag).logits)
        yield Progress(
            len(found), len(examples), f"measuring: {len(found)} of {len(examples)} {split} slides"
        )
    logits, labels = torch.stack(found), torch.tensor([label for _, label in examples])
    return {
        f"{split}_accuracy": float((logits.argmax(1) == labels).float().mean()),
        f"{split}_loss": float(torch.nn.functional.cross_entropy(logits, labels)),
    }


def card(spec: ModelSpec) -> str:
    """Model card in the hub's form."""
    magnifications = ", ".join(map(magnification_name, spec.magnifications))
    return model_card(
        f"{spec.architecture}: {', '.join(spec.class_names)}",
        f"Magnifications {magnifications}, patches of {spec.patch_size} px, "
        f"encoder `{spec.encoder}` ({spec.encoder_hash}).",
        spec.training.get("metrics"),
        tags=["multiple-instance-learning"],
    )
