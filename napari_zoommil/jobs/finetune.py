"""``finetune``: a model and a few points on a slide to a model that finds such cells, or looks there."""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.loading import open_own
from napari_zoommil.jobs.parameters import Range
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_folder import Kind, kind_of
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.training.cells.module import CellRecipe
    from napari_zoommil.training.mil.points import PointRecipe

Loss = Literal["ece", "ece-margin", "ce", "weighted-ce", "focal"]
Preset = Literal["interactive", "paper"]

HELD_OUT = 0.2
"""Share of the windows that watch a training."""

LEAST_WINDOWS = 5
"""Windows below which none is held out: each is dearer to the training."""

WINDOW = 1.5
"""Edge of a window in edges of what is cut out of it at random."""


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuned model and how it did.

    Attributes
    ----------
    model : Path
        Its folder, with ``run.json`` (settings and provenance) and ``curves.csv`` beside the weights.
    classes : tuple of CellClass
    points : dict of str to int
        Trained on, by class; the held-out ones are among them.
    windows, held_out : int
        Of a cell model.
    metrics : dict of str to float
        Before (``before_*``) and after. Of a cell model: the score from which a find counts, and figures of
        the held-out windows, where there are any. Of a MIL model: the attention's share on the patches that
        hold points, by magnification, and the slide's probabilities.
    seconds : float
    kind : {"cells", "mil"}
    patches : int
        That a MIL model learnt from, in all magnifications.
    """

    model: Path
    classes: tuple[CellClass, ...]
    points: dict[str, int]
    windows: int
    held_out: int
    metrics: dict[str, float]
    seconds: float
    kind: Kind = "cells"
    patches: int = 0


def finetune(
    slide: Path | Slide,
    annotations: Path | Points,
    model: str = "yollo",
    *,
    out: Path,
    encoder: str | None = None,
    loss: Loss | None = None,
    preset: Preset = "interactive",
    epochs: Annotated[int | None, Range(1, 10_000)] = None,
    learning_rate: Annotated[float | None, Range(1e-6, 1e-1, log=True)] = None,
    seed: Annotated[int, Range(0, 2**31)] = 0,
    stain_augmentation: bool = True,
    resume: bool = False,
    label: str | None = None,
    patches: Annotated[int, Range(64, 1_000_000, unit="patches")] = 2048,
    mpp: Annotated[float | None, Range(0.02, 50, unit="µm/px")] = None,
    icc: bool = False,
    device: str = "auto",
    threads: Annotated[int | None, Range(1, 256)] = None,
) -> Job[FineTuning]:
    """Teach a model with a few points; what is not marked does not count as background.

    A cell model learns to find such cells. A MIL model learns to look there: points that are named like a
    class of the model tell what the slide is, which its prediction then keeps to; where they are not, the
    slide's probabilities are held where they were. Points of that class are learnt from, or all of them
    where none is.

    Parameters
    ----------
    slide : Path or Slide
        The slide.
    annotations : Path or Points
        Points, and regions declared complete, as GeoJSON.
    model : str
        Shipped model, folder or hub name of the cell model or MIL model to begin with.
    out : Path
        Model folder to write.
    encoder : str, optional
        The encoder that a MIL model was trained on, where the model must not choose it: its hub name, or a
        TorchScript file, which is code and is run. Its hash must be that of the model.
    loss : str, optional
        ece and ece-margin = exclusive cross-entropy, gated by the foreground or by doubt; ce =
        cross-entropy; weighted-ce = unmarked places count a tenth; focal. By default the preset's:
        ece-margin in interactive, ece in paper and for a MIL model.
    preset : {"interactive", "paper"}
        interactive = from a trained model, in about a minute; paper = loss, schedule and 300
        epochs as published, from the given model on.
    epochs : int, optional
        Instead of the preset's.
    learning_rate : float, optional
        Of Adam, instead of the preset's.
    seed : int
        Of order, augmentation and held-out windows.
    stain_augmentation : bool
        Vary haematoxylin and eosin while a cell model trains; leave it off for other stains.
    resume : bool
        Go on with a training of this folder that was cut off, if there is one; a MIL model, trained in
        seconds, begins anew.
    label : str, optional
        Class of the slide among those of a MIL model; that of the points by default.
    patches : int
        A MIL model learns from so many patches in all magnifications: all that hold points and a sample
        of the others.
    mpp : float, optional
        Pixel size of level 0, where the slide does not state it or states it wrongly.
    icc : bool
        Convert pixels to sRGB by the slide's colour profile, if it has one.
    device : str
        auto, cpu, cuda, cuda:1, mps.
    threads : int, optional
        CPU threads that compute; all cores by default.

    Returns
    -------
    FineTuning

    Raises
    ------
    AnnotationError
        If there is no point to train on.
    ModelError
        If there is no such model, or the device has too little memory.
    """
    from napari_zoommil.jobs.finetune_mil import finetune_mil

    if kind_of(model) == "mil":
        how: dict[str, Any] = {"loss": loss, "preset": preset, "epochs": epochs, "seed": seed, "label": label}
        how |= {"learning_rate": learning_rate, "patches": patches, "device": device, "threads": threads}
        how |= {"encoder": encoder, "mpp": mpp, "icc": icc}
        return (yield from finetune_mil(slide, annotations, model, out=out, **how))
    if label is not None:
        raise ModelError(f"{model} is a cell model: a label of the slide is for MIL models, leave it out")
    if encoder is not None:
        raise ModelError(f"{model} is a cell model: an encoder is for MIL models, leave it out")
    import lightning as L
    import torch

    from napari_zoommil.cells.change_classes import with_classes
    from napari_zoommil.cells.model import fitting, load_cell_model
    from napari_zoommil.cells.windows import hold_out, windows_of_points
    from napari_zoommil.encoders.device import choose_device, use_threads
    from napari_zoommil.training.cells.presets import recipe
    from napari_zoommil.training.cells.run import Run
    from napari_zoommil.training.cells.scores import measured
    from napari_zoommil.training.cells.sizes import with_known_sizes
    from napari_zoommil.training.cells.threshold import threshold_by_marks
    from napari_zoommil.training.fit import accelerator

    started = time.perf_counter()
    with ExitStack() as stack:
        own = stack.enter_context(open_own(slide, mpp, icc))
        yield Progress(0, 1, "loading the model")
        chosen = choose_device(device)
        stack.callback(chosen.release)
        stack.callback(use_threads)
        use_threads(threads)
        points = annotations if isinstance(annotations, Points) else Points.read(annotations)
        classes = tuple(one for one in points.classes if points.counts[one.name])
        L.seed_everything(seed, verbose=False)
        network, spec = load_cell_model(model)
        known = {one.name for one in spec.classes}
        if classes:
            network, spec = with_classes(network, spec, classes)
        changes = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
        new = len(classes) > 1 and known != {one.name for one in classes}
        settings = recipe(preset, loss, new, stained=stain_augmentation, **changes)
        settings = replace(settings, crop=fitting(network, settings.crop))
        yield Progress(0, 1, "reading the windows")
        size = fitting(network, math.ceil(settings.crop * WINDOW))
        windows = windows_of_points(own, points, classes, spec.mpp, size)
        train, held_out = hold_out(windows, HELD_OUT if len(windows) >= LEAST_WINDOWS else 0, seed)
        before = measured(network, spec, held_out)
        sized = with_known_sizes(network, spec, train)
        counts = {"windows": len(train), "held_out": len(held_out)}
        run = Run(out, provenance(own, points, model, settings, **counts))
        steps = run.fit(network, spec, settings, sized, held_out, resume, **accelerator(chosen))
        try:
            with closing(steps):
                for step in steps:
                    note = f"epoch {step.epoch + 1} of {settings.epochs}"
                    if "train_loss" in step.metrics:
                        note += f", loss {step.metrics['train_loss']:.3f}"
                    yield Progress(step.step, step.total, note, step)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{chosen.torch} has too little memory to train on; free it, or take another device"
            ) from None
        network.cpu().eval()
        begun, spec = spec.threshold, replace(spec, threshold=threshold_by_marks(network, spec, train))
        before |= {"score_threshold": begun}
        after = measured(network, spec, held_out) | {"score_threshold": spec.threshold}
        metrics = {f"before_{name}": value for name, value in before.items()} | after
        run.keep(network, spec, metrics)
        seconds = round(time.perf_counter() - started, 1)
        return FineTuning(out, classes, points.counts, len(windows), len(held_out), metrics, seconds)


def provenance(
    slide: Slide, points: Points, model: str, settings: CellRecipe | PointRecipe, **seen: Any
) -> dict[str, Any]:
    """What a training was made of, and what it has ``seen``; names no slide, for its name can tell who the
    patient is."""
    import torch

    from napari_zoommil import __version__

    return {
        "model": Path(model).name if Path(model).is_dir() else model,
        "slide": slide.fingerprint,
        "annotations": hashlib.sha256(points.to_bytes()).hexdigest()[:16],
        "points": points.counts,
        "complete_regions": len(points.complete),
        **seen,
        "settings": asdict(settings) | {"options": repr(settings.options)},
        "versions": {"napari_zoommil": __version__, "torch": torch.__version__},
    }
