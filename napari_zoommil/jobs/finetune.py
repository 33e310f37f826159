"""``finetune``: a model and a few points on a slide to a model that finds such cells, or looks there.

A request goes through the rooms in this order, whether a window or a command makes it:

1. ``annotations``, ``files``: the window's run folder, with the request and the points (``finetune_run``).
2. ``training``: the folder is locked until the end.
3. ``slides``, ``annotations``: the slide is opened, and its points are read and counted in one step.
4. ``encoders``, ``cells`` or ``models``: the device and the model to begin with, copied or not shared.
5. ``training``, then ``slides`` and ``cells`` or ``bags``: settings, and windows or patches to learn from.
6. ``training``: the fit, with a look before and after it; the model, its figures and the end of the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from napari_zoommil.annotations import Points
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.finetune_cells import finetune_cells
from napari_zoommil.jobs.finetune_mil import finetune_mil
from napari_zoommil.jobs.finetuning import FineTuning, LossName, PresetName
from napari_zoommil.jobs.parameters import (
    DeviceName,
    EncoderOfModel,
    Epochs,
    Icc,
    LearningRate,
    ModelFolder,
    Mpp,
    Overwrite,
    Range,
    Seed,
    SlideSource,
    Store,
    Threads,
    documented,
)
from napari_zoommil.jobs.progress import Job
from napari_zoommil.model_folder import kind_of


@documented
def finetune(
    slide: SlideSource,
    annotations: Path | Points,
    model: str = "yollo",
    *,
    out: ModelFolder,
    encoder: EncoderOfModel = None,
    loss: LossName | None = None,
    preset: PresetName = "interactive",
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    seed: Seed = 0,
    stain_augmentation: bool = True,
    resume: bool = False,
    label: str | None = None,
    patches: Annotated[int, Range(64, 1_000_000, unit="patches")] = 2048,
    mpp: Mpp = None,
    icc: Icc = False,
    store: Store = None,
    device: DeviceName = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> Job[FineTuning]:
    """Teach a model with a few points; what is not marked does not count as background.

    A cell model learns to find such cells. A MIL model learns to look there: points that are named like a
    class of the model tell what the slide is, which its prediction then keeps to; where they are not, the
    slide's probabilities are held where they were. Points of that class are learnt from, or all of them
    where none is.

    Parameters
    ----------
    annotations : Path or Points
        Points, and regions declared complete, as GeoJSON.
    model : str
        Shipped model, folder or hub name of the cell model or MIL model to begin with.
    loss : str, optional
        ece and ece-margin = exclusive cross-entropy, gated by the foreground or by doubt; ce =
        cross-entropy; weighted-ce = unmarked places count a tenth; focal. By default the preset's:
        ece-margin in interactive and for a U-Net in paper, else ece.
    preset : {"interactive", "paper"}
        interactive = from a trained model, in about a minute; paper = loss, schedule and 300
        epochs as published, from the given model on.
    stain_augmentation : bool
        Vary haematoxylin and eosin while a cell model trains; leave it off for other stains.
    resume : bool
        Go on with a training of this folder that was cut off, if there is one (a MIL model, trained in
        seconds, begins anew); of one that is finished, its result is returned.
    label : str, optional
        Class of the slide among those of a MIL model; that of the points by default.
    patches : int
        A MIL model learns from so many patches in all magnifications: all that hold points and a sample
        of the others.

    Returns
    -------
    FineTuning

    Raises
    ------
    AnnotationError
        If there is no point on the slide to train on.
    MagnificationError
        If the slide was scanned too coarsely for the model.
    ModelError
        If there is no such model, the device has too little memory, ``out`` holds something
        and ``overwrite`` is not set, or it cannot be written to.
    """
    how: dict[str, Any] = {
        "loss": loss,
        "preset": preset,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "seed": seed,
        "mpp": mpp,
        "icc": icc,
        "device": device,
        "threads": threads,
        "resume": resume,
        "overwrite": overwrite,
    }
    if kind_of(model) == "mil":
        how |= {"label": label, "patches": patches, "encoder": encoder, "store": store}
        return (yield from finetune_mil(slide, annotations, model, out=out, **how))
    of_mil = {"a label of the slide": label, "an encoder": encoder, "a store of features": store}
    for what, given in of_mil.items():
        if given is not None:
            raise ModelError(f"{model} is a cell model: {what} is for MIL models, leave it out")
    how |= {"stain_augmentation": stain_augmentation}
    return (yield from finetune_cells(slide, annotations, model, out=out, **how))
