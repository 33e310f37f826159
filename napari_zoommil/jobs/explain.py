"""``explain``: the maps of one method for one class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.parameters import Range
from napari_zoommil.jobs.predict import predict
from napari_zoommil.jobs.prediction import Prediction
from napari_zoommil.jobs.progress import Job
from napari_zoommil.maps import HeatMap
from napari_zoommil.slides import Slide

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
    model: str = "demo",
    *,
    encoder: str | None = None,
    method: Method = "grad-cam",
    target: str | None = None,
    mpp: Annotated[float | None, Range(0.02, 50, unit="µm/px")] = None,
    icc: bool = False,
    device: str = "auto",
    batch_size: Annotated[int, Range(1, 4096)] = 64,
) -> Job[Explanation]:
    """Say why a model decided as it did.

    Parameters
    ----------
    slide : Path or Slide
        The slide.
    model : str
        Shipped model, folder or hub name.
    encoder : str, optional
        The encoder that the model was trained on, where the model must not choose it: its hub name, or a
        TorchScript file, which is code and is run. Its hash must be that of the model.
    method : {"attention", "grad-cam"}
        attention = where the model looked; grad-cam = which patches speak for a class.
    target : str, optional
        Class that Grad-CAM speaks for; the predicted one by default.
    mpp : float, optional
        Pixel size of level 0, where the slide does not state it or states it wrongly.
    icc : bool
        Convert pixels to sRGB by the slide's colour profile, if it has one.
    device : str
        auto, cpu, cuda, cuda:1, mps.
    batch_size : int
        Patches encoded at once; halved by itself when device memory runs out.

    Returns
    -------
    Explanation

    Raises
    ------
    ModelError
        If the model has no such class.
    """
    from napari_zoommil.models.spec import read_spec

    classes = read_spec(model).class_names
    if target and target not in classes:
        raise ModelError(f"{model} has no class {target!r}; it has {', '.join(classes)}")
    prediction = yield from predict(
        slide, model, encoder=encoder, mpp=mpp, icc=icc, device=device, batch_size=batch_size
    )
    if method == "attention":
        return Explanation(method, None, prediction.maps_of("attention"), prediction)
    wanted = target or prediction.predicted
    return Explanation(method, wanted, prediction.maps_of("grad-cam", wanted), prediction)
