"""``train``: a labelled cohort to a model folder; features are embedded first where they are missing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from napari_zoommil.errors import CohortError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.embed import embed
from napari_zoommil.jobs.many_slides import make_ready, with_next_ready
from napari_zoommil.jobs.parameters import Range
from napari_zoommil.jobs.progress import Job, Progress

SHOWN = ("train_loss", "val_loss")
"""Metrics that a fit's progress names."""

if TYPE_CHECKING:
    from napari_zoommil.bags import StoredBag
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
) -> Job[Training]:
    """Train a MIL model on slides with one label each.

    Parameters
    ----------
    cohort : Path
        CSV with the columns slide and label, and optionally split (train, val, test) and group.
    model : str
        Architecture.
    store : Path
        Folder of features; what it lacks is encoded first.
    out : Path
        Model folder to write.
    encoder : str
        nic, resnet50, mean-rgb, a timm name, hf-hub:owner/name, or a TorchScript file.
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

    Returns
    -------
    Training

    Raises
    ------
    CohortError
        If the table is malformed, or lacks training or validation slides.
    """
    from napari_zoommil.bags.cache import FeatureCache
    from napari_zoommil.training.mil.cohort import class_names, read_cohort

    entries = read_cohort(cohort, seed)
    classes = class_names(entries)
    for split in ("train", "val"):
        if not any(entry.split == split for entry in entries):
            raise CohortError(f"{cohort.name} has no slides in its split {split!r}")
    cache = FeatureCache(store)
    bags: dict[Path, StoredBag] = {}
    reading: dict[str, Any] = {
        "store": store,
        "magnifications": magnifications,
        "patch_size": patch_size,
        "min_tissue": min_tissue,
        "mpp": mpp,
        "icc": icc,
    }
    with closing(with_next_ready([e.slide for e in entries], partial(make_ready, **reading))) as slides:
        for number, slide in enumerate(slides, 1):
            job = embed(slide, encoder, device=device, **reading)
            result = yield from _titled(job, f"slide {number} of {len(entries)}: ")
            bags[slide] = result.bag(cache)
    config = {"magnifications": magnifications, "k": k, "classes": len(classes)}
    recipe_args = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    description = {"patch_size": patch_size, "min_tissue": min_tissue, "encoder": encoder}
    return (yield from _fit(model, config, recipe_args, description, entries, classes, bags, out, device))


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


def _fit(
    architecture: str,
    config: dict[str, Any],
    recipe_args: dict[str, Any],
    description: dict[str, Any],
    entries: list[Entry],
    classes: tuple[str, ...],
    bags: dict[Path, StoredBag],
    out: Path,
    device: str,
) -> Job[Training]:
    import lightning as L
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.models import create
    from napari_zoommil.models.spec import ModelSpec, save_model
    from napari_zoommil.training.fit import accelerator, fit_steps
    from napari_zoommil.training.mil.module import MILModule, MILRecipe, loader

    recipe = MILRecipe(**recipe_args)
    L.seed_everything(recipe.seed, verbose=False)
    features = next(iter(bags.values()))
    mil = create(architecture, in_features=features.dim, **config)
    examples = {
        split: [(bags[e.slide], classes.index(e.label)) for e in entries if e.split == split]
        for split in ("train", "val", "test")
    }
    module = MILModule(mil, recipe)
    chosen = choose_device(device)
    with TemporaryDirectory(prefix="zoommil-") as folder:
        best = ModelCheckpoint(folder, monitor="val_loss", mode="min", save_weights_only=True)
        steps = fit_steps(
            module,
            loader(examples["train"], recipe),
            loader(examples["val"]),
            callbacks=[best],
            max_epochs=recipe.epochs,
            **accelerator(chosen),
            logger=False,
            num_sanity_val_steps=0,
        )
        # Closed before the folder goes: the fit's thread writes there.
        with closing(steps):
            for step in steps:
                shown = " ".join(f"{name} {step.metrics[name]:.3f}" for name in SHOWN if name in step.metrics)
                yield Progress(
                    step.step, step.total, f"epoch {step.epoch + 1} of {recipe.epochs} {shown}", step
                )
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
    metrics = evaluate(mil, examples["val"], "val") | evaluate(mil, examples["test"], "test")
    spec = ModelSpec(
        architecture,
        mil.config(),
        description["encoder"],
        features.encoder.hash,
        description["patch_size"],
        classes,
        description["min_tissue"],
        {
            "slides": {split: len(found) for split, found in examples.items()},
            **recipe_args,
            "metrics": metrics,
        },
    )
    save_model(out, mil, spec, card(spec))
    return Training(out, classes, metrics)


def evaluate(mil: Any, examples: list[Any], split: str) -> dict[str, float]:
    """Accuracy and mean cross-entropy over bags."""
    import torch

    if not examples:
        return {}
    mil.cpu().eval()
    with torch.no_grad():
        logits = torch.stack([mil(bag).logits for bag, _ in examples])
    labels = torch.tensor([label for _, label in examples])
    return {
        f"{split}_accuracy": float((logits.argmax(1) == labels).float().mean()),
        f"{split}_loss": float(torch.nn.functional.cross_entropy(logits, labels)),
    }


def card(spec: Any) -> str:
    """Model card in the hub's form."""
    figures = "\n".join(
        f"| {name} | {value:.3f} |" for name, value in spec.training.get("metrics", {}).items()
    )
    return (
        "---\nlibrary_name: napari-zoommil\ntags: [whole-slide-image, multiple-instance-learning]\n---\n\n"
        f"# {spec.architecture}: {', '.join(spec.class_names)}\n\n"
        f"Magnifications {', '.join(map(magnification_name, spec.magnifications))}, "
        f"patches of {spec.patch_size} px, "
        f"encoder `{spec.encoder}` ({spec.encoder_hash}).\n\n| figure | value |\n| --- | --- |\n{figures}\n"
    )
