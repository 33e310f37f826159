"""What a job opens for itself: a slide handle, a model with its encoder on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.encoders import Encoder
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.models.spec import ModelSpec


def open_own(slide: Path | Slide, mpp: float | None, icc: bool = False) -> Slide:
    """A handle of the job's own; ``mpp`` and ``icc`` overrule what the file, or the open slide, states."""
    if isinstance(slide, Slide):
        return slide.reopen(mpp, icc)
    return Slide.open(slide, mpp, icc)


@dataclass(frozen=True, eq=False)
class Loaded:
    """Everything a prediction computes with."""

    model: MILModel
    spec: ModelSpec
    encoder: Encoder
    device: Device


@contextmanager
def loaded(
    model: str, device: str = "auto", threads: int | None = None, encoder: str | None = None
) -> Iterator[Loaded]:
    """Load a model and its encoder; leaving the context frees the device's memory.

    Parameters
    ----------
    model : str
        Shipped model, folder or hub name.
    device : str
        auto, or a torch device.
    threads : int, optional
        CPU threads that compute.
    encoder : str, optional
        The encoder that the model was trained on, as the user names it.

    Raises
    ------
    ConsentError
        If the model was trained on an encoder that only the user may name.
    EncoderError
        If the encoder has other weights than the model was trained on.
    """
    import torch

    from napari_zoommil.encoders import encoder_of_model
    from napari_zoommil.encoders.device import choose_device, cpu_threads
    from napari_zoommil.models.spec import load_model

    chosen = choose_device(device)
    with torch.random.fork_rng(devices=()):  # a new network draws its weights before it gets its own
        mil, spec = load_model(model)
        network = encoder_of_model(model, spec.encoder, spec.encoder_hash, encoder)
    try:
        with cpu_threads(threads):
            yield Loaded(mil.to(chosen.torch), spec, network.to(chosen.torch), chosen)
    finally:
        mil.to("cpu")
        network.to(torch.device("cpu"))
        chosen.release()
