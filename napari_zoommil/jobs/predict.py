"""``predict``: a slide and a model to probabilities and maps, zooming as it goes."""

from __future__ import annotations

from contextlib import ExitStack

from napari_zoommil.jobs.model_on_slide import open_model_on_slide
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Features,
    Icc,
    ImageMagnification,
    Inside,
    KnownTissue,
    MinTissue,
    ModelName,
    Mpp,
    Overlap,
    SlideSource,
    Store,
    Threads,
    Workers,
    documented,
)
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.progress import Job


@documented
def predict(
    slide: SlideSource,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    features: Features = (),
    mpp: Mpp = None,
    icc: Icc = False,
    regions: Inside = (),
    tissue: KnownTissue = None,
    min_tissue: MinTissue = None,
    overlap: Overlap = 0.0,
    magnification: ImageMagnification = None,
    store: Store = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Prediction]:
    """Predict a slide's class and say where the model looked.

    An open slide is read through a handle of the job's own.

    Yields
    ------
    Progress
        ``partial`` holds a :class:`~napari_zoommil.jobs.prediction.PartialMap` while a magnification fills.

    Returns
    -------
    Prediction
    """
    with ExitStack() as stack:
        opened = yield from open_model_on_slide(
            stack,
            slide,
            model,
            encoder=encoder,
            features=features,
            mpp=mpp,
            icc=icc,
            regions=regions,
            tissue=tissue,
            min_tissue=min_tissue,
            overlap=overlap,
            magnification=magnification,
            store=store,
            device=device,
            batch_size=batch_size,
            workers=workers,
            threads=threads,
        )
        output = yield from opened.look()
        return opened.prediction(output, (yield from opened.compare()))
