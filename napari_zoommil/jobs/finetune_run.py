"""A fine-tuning in a run folder of its slide, with its curves and the remaining time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

from napari_zoommil.jobs import Job, finetune
from napari_zoommil.jobs.attention_change import AttentionMaps
from napari_zoommil.jobs.finetune_runs import POINTS, Request, begin, discard_if_empty
from napari_zoommil.jobs.trace import Follow
from napari_zoommil.model_folder import find_model
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import read_curves


def finetune_in_run(
    slide: Slide,
    request: Request,
    resume: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    encoder: str | None = None,
) -> Job[Any]:
    """Fine-tune a model in a run folder of the slide; a run without a finished epoch is deleted at the end.

    Yields the job's progress with the remaining time and a :class:`~napari_zoommil.jobs.trace.Trace` or, for
    a MIL model, :class:`~napari_zoommil.jobs.attention_change.AttentionMaps`; returns the result of
    :func:`~napari_zoommil.jobs.finetune`.

    Parameters
    ----------
    resume : Path, optional
        The run to resume, with its own points and the ``request`` of its start.
    encoder : str, optional
        The encoder of a MIL model that the user names; not part of the request, which is read from a file.
    """
    find_model(request.model, request.kind, fetch=False)  # a run folder may be from an untrusted source
    folder = resume or begin(slide, request)
    job = finetune(
        slide,
        folder / POINTS,
        request.model,
        out=folder,
        loss=cast(Any, request.loss),
        preset=cast(Any, request.preset),
        epochs=request.epochs,
        learning_rate=request.learning_rate,
        seed=request.seed,
        stain_augmentation=request.stain_augmentation,
        label=request.label,
        resume=resume is not None,
        overwrite=True,  # the folder is the run's own, and holds its points
        encoder=encoder,
        device=device,
        threads=threads,
    )
    follow = Follow(folder, read_curves(folder) if resume else ())
    try:
        with closing(job):
            while True:
                told = next(job)
                yield from (told,) if isinstance(told.partial, AttentionMaps) else follow.told(told)
    except StopIteration as end:
        return end.value
    except BaseException:  # also when the job is closed
        discard_if_empty(folder)
        raise
