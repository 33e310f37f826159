"""Predictions over a cohort: those that are there already, and the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from napari_zoommil.bags.feature_files.hdf5 import is_feature_file
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.jobs import prediction_store
from napari_zoommil.jobs.cohort import Answer
from napari_zoommil.jobs.feature_files import at_hand
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Features,
    Icc,
    MinTissue,
    ModelName,
    Mpp,
    Overlap,
    Store,
    Threads,
    Workers,
)
from napari_zoommil.jobs.predict import predict
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.prediction_store import KeptPrediction, ReadAs, WaysToRead
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.jobs.trace import SECONDS_BETWEEN
from napari_zoommil.model_folder import WEIGHTS, find_model
from napari_zoommil.models.spec import read_spec
from napari_zoommil.slides import Slide
from napari_zoommil.slides.fingerprint import fingerprint
from napari_zoommil.slides.tissue_published import DEFAULT


def kept_answers(
    slides: Sequence[Path],
    model: str,
    *,
    features: Sequence[Path] = (),
    min_tissue: float | None = None,
    overlap: float = 0.0,
    mpp: float | None = None,
    icc: bool = False,
) -> Job[None]:
    """The stored predictions of a model over whole slides; parameters are those of :func:`predict_and_keep`.

    Predictions that are older than the model's weights, or of tissue that another detector found, are of
    another model of that name. None are stored of slides that are not at hand.

    Yields
    ------
    Progress
        ``partial`` holds what was found since the last report, as a dict of Path to :class:`Answer`.
    """
    found: dict[Path, Answer] = {}
    (since, detector), told = _current(model), time.monotonic()
    wanted = _ways(features, min_tissue, detector, overlap)
    for number, path in enumerate(slides, 1):
        if (answer := _kept_answer(path, model, since, wanted, mpp, icc)) is not None:
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


def _ways(features: Sequence[Path], min_tissue: float | None, detector: str, overlap: float) -> WaysToRead:
    return WaysToRead(min_tissue, detector, overlap, tuple(str(Path(one).absolute()) for one in features))


def _kept_answer(
    path: Path, model: str, since: float, wanted: WaysToRead, mpp: float | None, icc: bool
) -> Answer | None:
    with suppress(ZoomMILError, OSError):
        of = ("", "icc") if icc else ("",)
        if not at_hand(path) or not any(prediction_store.has_some(fingerprint(path, one)) for one in of):
            return None  # without opening it, which takes longer
        with Slide.open(path, mpp, icc) as slide:
            for one in prediction_store.summaries(slide.fingerprint, slide.mpp, slide.colour_managed):
                if one.is_of_whole_slide(wanted) and one.made >= since and one.prediction.model == model:
                    found = one.prediction
                    return Answer(found.task, found.values, found.familiarity)
    return None


def predict_and_keep(
    slide: Path,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    features: Features = (),
    mpp: Mpp = None,
    icc: Icc = False,
    min_tissue: MinTissue = None,
    overlap: Overlap = 0.0,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Answer]:
    """Predict over a whole slide, and store the prediction for when the slide is opened in the window.

    Parameters are those of :func:`napari_zoommil.jobs.predict`.
    """
    made, from_files = time.time(), bool(features) or is_feature_file(slide)
    with ExitStack() as stack:
        opened = stack.enter_context(Slide.open(slide, mpp, icc)) if at_hand(slide) else None
        spec, tissue = read_spec(model), None
        if opened is not None and not from_files and spec.takes != "image":
            tissue = yield from find_tissue(opened, spec.tissue_detector)
        prediction: Prediction = yield from predict(
            opened or slide, model, encoder=encoder, features=features, mpp=mpp, icc=icc, tissue=tissue,
            min_tissue=min_tissue, overlap=overlap, store=store, device=device, batch_size=batch_size,
            workers=workers, threads=threads,
        )  # fmt: skip
        if opened is not None:
            ways = _ways(features, min_tissue, spec.tissue_detector, overlap)
            read = ReadAs(tissue, (), ways.min_tissue, ways.detector, ways.overlap, ways.features)
            seen = opened.mpp, opened.colour_managed
            prediction_store.keep(KeptPrediction(prediction, made, ways.text, *seen, read))
    return Answer(prediction.task, prediction.values, prediction.familiarity)
