"""``train-encoder``: slides, or folders of pictures, to an encoder of the registry."""

from __future__ import annotations

import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs.cohort import slides_in
from napari_zoommil.jobs.encoder_patches import (
    EncoderReading,
    choose_patches,
    read_patches,
)
from napari_zoommil.jobs.encoder_places import Annotated as AnnotatedSlides
from napari_zoommil.jobs.encoder_result import card, measured, provenance, specification, statistics
from napari_zoommil.jobs.parameters import (
    DeviceName,
    Icc,
    ModelFolder,
    Mpp,
    Overwrite,
    Range,
    Seed,
    TissueDetectorName,
    TissueShare,
    documented,
)
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_folder import keep_familiarity
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.training.run import FINISHED, RunFolder, is_trained, working_in

if TYPE_CHECKING:
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.encoders.folder import EncoderSpec
    from napari_zoommil.training.encoders.fitting import FittedEncoder
    from napari_zoommil.training.encoders.items import Items
    from napari_zoommil.training.encoders.patches import Source
    from napari_zoommil.training.encoders.recipe import EncoderRecipe

SHOWN = ("train_loss", "val_loss", "val_accuracy")
"""Metrics that a fit's progress names."""

VALIDATED, TESTED = 0.15, 0.15
"""Shares of the patients; some test only where there are labels to test with."""


@dataclass(frozen=True)
class EncoderTraining:
    """A trained encoder.

    Attributes
    ----------
    encoder : Path
        Its folder, which any job takes as the name of an encoder.
    method : str
    hash : str
        Of its weights.
    code : int
        C, features per patch.
    patches : dict of str to int
        By split.
    metrics : dict of str to float
        ``val_*`` of the kept epoch, ``steps``, and where there are labels ``probe_*``: accuracies of a linear
        probe on held-out patients, beside those of an untrained network and of colour alone.
    trained_before : bool
        Whether it was finished, and nothing was left to do.
    """

    encoder: Path
    method: str
    hash: str
    code: int
    patches: dict[str, int]
    metrics: dict[str, float]
    trained_before: bool = False


@documented
def train_encoder(
    cohort: Path,
    *,
    method: Literal["vae", "contrastive", "bigan", "supervised"] = "vae",
    out: ModelFolder,
    recipe: Literal["cpu", "paper", "synthetic"] = "cpu",
    magnification: Annotated[float, Range(0.1, 100)] = 20.0,
    patch_size: Annotated[int | None, Range(4, 4096, unit="px")] = None,
    patches: Annotated[int | None, Range(16, 10_000_000)] = None,
    code: Annotated[int | None, Range(1, 8192)] = None,
    input_size: Annotated[int | None, Range(4, 1024, unit="px")] = None,
    steps: Annotated[int | None, Range(1, 10_000_000)] = None,
    annotations: Path | None = None,
    rest: str | None = None,
    group_pattern: str | None = None,
    data: Path | None = None,
    licence: str = "",
    min_tissue: TissueShare = 0.1,
    tissue_detector: TissueDetectorName = DEFAULT,
    mpp: Mpp = None,
    icc: Icc = False,
    seed: Seed = 0,
    device: DeviceName = "auto",
    resume: bool = False,
    overwrite: Overwrite = False,
) -> Job[EncoderTraining]:
    """Train an encoder of patches.

    Parameters
    ----------
    cohort : Path
        Table with the column slide, or with the column image, and optionally label, group and
        split; or a folder of pictures, whose folders are classes, or of slides. The label of a slide is that
        of its patches in the linear probe, and is not learnt from.
    method : {"vae", "contrastive", "bigan", "supervised"}
        The first three need no labels.
    recipe : {"cpu", "paper", "synthetic"}
        cpu (minutes to hours on two cores), paper (Tellez et al. 2019), or synthetic (grey patches of 9 px).
    magnification : float
        At which slides are read; pictures are read as they are.
    patch_size : int, optional
        Edge of a patch; the recipe's by default (64 of cpu, 128 of paper).
    patches : int, optional
        How many to draw, of all slides or pictures alike; by default the recipe's numbers to train and to
        validate on.
    code : int, optional
        Features per patch; the recipe's by default.
    input_size : int, optional
        Edge of the network's input, to which patches are averaged; the recipe's by default.
    steps : int, optional
        Most steps; the recipe's by default.
    annotations : Path, optional
        Folder of the regions of slides (GeoJSON or XML, named as the slides), for supervised training; beside
        the slides by default.
    rest : str, optional
        Class of tissue outside all regions; it has no label by default.
    group_pattern : str, optional
        Regular expression of the patient in a file's path, where the table does not state it.
    data : Path, optional
        Folder to keep the patches in, for many of them and for further trainings; in memory by default.
    licence : str
        Of the weights, as the card states it: that of what it is trained on may bind them.
    resume : bool
        Go on with a training of this folder that was cut off, if there is one; of one that is finished, its
        result is returned.

    Yields
    ------
    Progress
        ``partial`` of some is a step of the fit.

    Returns
    -------
    EncoderTraining

    Raises
    ------
    CohortError
        If the table is malformed, a picture cannot be read, or patches, patients or labels are too few.
    ModelError
        If there is no such method or recipe, or ``out`` holds another training to go on with, or anything
        else without ``overwrite``.
    SlideError, MagnificationError, NoTissueError, AnnotationError
        If a slide or its regions cannot be read.
    JobError
        If there is no such device.
    FileError
        If ``out`` or ``data`` cannot be written to.
    """
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.training.encoders.recipe import recipe_of

    computes_on = choose_device(device)
    settings = recipe_of(method, recipe).resized(input_size, code)
    settings = replace(settings, steps=steps or settings.steps, patch_size=patch_size or settings.patch_size)
    supervised = method == "supervised"
    items = _items(cohort, group_pattern)
    reading = EncoderReading(
        settings.patch_size, float(magnification), patches or settings.patches, min_tissue,
        tissue_detector, mpp, icc, data, AnnotatedSlides(annotations, rest), supervised,
        settings.sizes.channels,
    )  # fmt: skip
    shares = (VALIDATED, TESTED if supervised or items.classes else 0.0)
    with working_in(out, overwrite, resume):
        chosen = yield from choose_patches(items, reading, seed, shares)
        asked = {"method": method, "recipe": recipe, "seed": seed, "licence": licence}
        run = RunFolder(out, provenance(asked, settings, reading, chosen))
        if resume and is_trained(out):
            yield Progress(1, 1, FINISHED)
            return _trained_before_in(run, method)
        source = yield from read_patches(chosen, reading, seed)
        fitted = yield from _fitted(run, source, method, settings, computes_on, seed, resume)
        yield Progress(0, 1, "measuring the encoder")
        metrics = fitted.metrics | measured(fitted, source, seed)
        spec = specification(fitted, chosen, reading, asked, metrics)
        return (yield from _finish(run, fitted, spec, source, metrics))


def _items(cohort: Path, group_pattern: str | None) -> Items:
    """Slides or pictures of a table or a folder."""
    from napari_zoommil.training.encoders.items import grouped_slides, has_pictures, read_items

    if cohort.is_dir() and not has_pictures(cohort):
        return grouped_slides(slides_in(cohort), cohort, group_pattern)
    return read_items(cohort, group_pattern)


def _fitted(
    run: RunFolder,
    source: Source,
    method: Any,
    recipe: EncoderRecipe,
    device: Device,
    seed: int,
    resume: bool,
) -> Job[FittedEncoder]:
    from napari_zoommil.training.encoders.fitting import fit_in

    fitting = fit_in(run, source, method, recipe, run.begin(resume), device, seed)
    with closing(fitting) as steps:
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                return stop.value
            shown = " ".join(f"{name} {step.metrics[name]:.4f}" for name in SHOWN if name in step.metrics)
            yield Progress(step.step, step.total, f"step {step.step:,} of {step.total:,} {shown}", step)


def _trained_before_in(run: RunFolder, method: str) -> EncoderTraining:
    """The result of a training that is finished; nothing of it is done again."""
    from napari_zoommil.encoders.folder import read_encoder

    metrics, encoder = run.finished(), read_encoder(run.folder)
    counts = run.provenance["patches"]
    return EncoderTraining(
        run.folder, method, encoder.hash, encoder.dim, counts, metrics, trained_before=True
    )


def _finish(
    run: RunFolder, fitted: FittedEncoder, spec: EncoderSpec, source: Source, metrics: dict[str, float]
) -> Job[EncoderTraining]:
    """Write the encoder with all that its folder tells."""
    from napari_zoommil.encoders.folder import read_encoder, save_encoder

    save_encoder(run.folder, fitted.network, spec, card(spec, metrics))
    encoder = read_encoder(run.folder)
    yield Progress(0, 1, "statistics of the training")
    try:
        known = statistics(encoder, source, spec.mpp)
        if known is not None:
            keep_familiarity(run.folder, known)
    except ZoomMILError as error:  # the encoder is there
        warnings.warn(f"no statistics of the training could be kept: {error}", stacklevel=2)
    run.finish(metrics)
    counts = spec.training["patches"]
    return EncoderTraining(run.folder, spec.method, encoder.hash, encoder.dim, counts, metrics)
