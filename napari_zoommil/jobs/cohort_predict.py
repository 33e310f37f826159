"""Predictions over a cohort: those that are there already, and the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import prediction_store
from napari_zoommil.jobs.cohort import Answer
from napari_zoommil.jobs.parameters import BatchSize, DeviceName, EncoderOfModel, ModelName, Threads, Workers
from napari_zoommil.jobs.predict import predict
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_store import ALL_TISSUE, KeptPrediction, ReadAs
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.jobs.trace import SECONDS_BETWEEN
from napari_zoommil.model_folder import WEIGHTS, find_model
from napari_zoommil.models.spec import read_spec
from napari_zoommil.slides import Slide
from napari_zoommil.slides.fingerprint import fingerprint
from napari_zoommil.slides.tissue_published import DEFAULT


def kept_answers(slides: Sequence[Path], model: str) -> Job[None]:
    """The stored predictions of a model over whole slides.

    Predictions that are older than the model's weights, or of tissue that another detector found, are of
    another model of that name.

    Yields
    ------
    Progress
        ``partial`` holds what was found since the last report, as a dict of Path to :class:`Answer`.
    """
    found: dict[Path, Answer] = {}
    (since, detector), told = _current(model), time.monotonic()
    for number, path in enumerate(slides, 1):
        if (answer := _kept_answer(path, model, since, detector)) is not None:
            found[path] = answer
        if time.monotonic() - told >= SECONDS_BETWEEN or number == len(slides):
            yield Progress(number, len(slides), "looking for predictions that are there", found)
            found, told = {}, time.monotonic()


def _current(model: str) -> tuple[float, str]:
    """When the weights of a model were written, seconds since 1970, and its tissue detector.

    0 and the default one if that cannot be told.
    """
    with suppress(ZoomMILError, OSError):
        folder = find_model(model, fetch=False)
        return (folder / WEIGHTS).stat().st_mtime, read_spec(folder).tissue_detector
    return 0.0, DEFAULT


def _kept_answer(path: Path, model: str, since: float, detector: str) -> Answer | None:
    with suppress(ZoomMILError, OSError):
        if not prediction_store.has_some(fingerprint(path)):
            return None  # without opening it, which takes longer
        with Slide.open(path) as slide:
            for one in prediction_store.summaries(slide.fingerprint, slide.mpp):
                if one.is_plain(detector) and one.made >= since and one.prediction.model == model:
                    found = one.prediction
                    return Answer(found.task, found.values, found.familiarity)
    return None


def predict_and_keep(
    slide: Path,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    min_tissue: None = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Answer]:
    """Predict over a whole slide, and store the prediction for when the slide is opened in the window.

    ``min_tissue`` is the model's own; it stands here for :func:`napari_zoommil.jobs.many_slides.over`, which
    prepares the next slide by it.
    """
    made = time.time()
    with Slide.open(slide) as opened:
        detector = read_spec(model).tissue_detector
        tissue = yield from find_tissue(opened, detector)
        prediction: Prediction = yield from predict(
            opened, model, encoder=encoder, tissue=tissue, min_tissue=min_tissue, device=device,
            batch_size=batch_size, workers=workers, threads=threads,
        )  # fmt: skip
        prediction_store.keep(
            KeptPrediction(
                prediction,
                made,
                ALL_TISSUE,
                opened.mpp,
                opened.colour_managed,
                ReadAs(tissue, detector=detector),
            )
        )
    return Answer(prediction.task, prediction.values, prediction.familiarity)
