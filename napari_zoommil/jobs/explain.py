"""``explain``: the maps of one method for one class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.parameters import (
    BatchSize,
    DeviceName,
    EncoderOfModel,
    Icc,
    MinTissue,
    ModelName,
    Mpp,
    Threads,
    Workers,
)
from napari_zoommil.jobs.predict import predict
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.progress import Job
from napari_zoommil.maps import HeatMap
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue

Method = Literal["attention", "grad-cam"]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of one method, one per magnification, beside the prediction they explain."""

    method: Method
    target: str | None
    maps: tuple[HeatMap, ...]
    prediction: Prediction


def explain(
    slide: Path | Slide,
    model: ModelName = "demo",
    *,
    encoder: EncoderOfModel = None,
    method: Method = "grad-cam",
    target: str | None = None,
    mpp: Mpp = None,
    icc: Icc = False,
    tissue: Tissue | None = None,
    min_tissue: MinTissue = None,
    device: DeviceName = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = None,
    threads: Threads = None,
) -> Job[Explanation]:
    """Say why a model decided as it did.

    Parameters that are not listed are those of :func:`predict`.

    Parameters
    ----------
    slide : Path or Slide
        The slide.
    method : {"attention", "grad-cam"}
        attention = what the model's attention makes of patches, and where it zooms; grad-cam = which patches
        speak for a class.
    target : str, optional
        Class that Grad-CAM speaks for; the predicted one by default.
    tissue : Tissue, optional
        Where the tissue is; found by itself if not given.

    Returns
    -------
    Explanation

    Raises
    ------
    ModelError
        If the model has no such class, or none of these maps.
    """
    from napari_zoommil.models.spec import read_spec

    classes = read_spec(model).task.names
    if target and target not in classes:
        raise ModelError(f"{model} has no class {target!r}; it has {', '.join(classes)}")
    cam = method == "grad-cam"
    prediction = yield from predict(
        slide,
        model,
        encoder=encoder,
        mpp=mpp,
        icc=icc,
        grad_cam=cam,
        tissue=tissue,
        min_tissue=min_tissue,
        device=device,
        batch_size=batch_size,
        workers=workers,
        threads=threads,
    )
    wanted = (target or prediction.explained) if cam else None
    maps = prediction.maps_of("grad-cam", wanted) if cam else prediction.maps
    if not maps:
        raise ModelError(f"{model} does not score patches one by one, so there is no map of {method}")
    return Explanation(method, wanted, maps, prediction)
