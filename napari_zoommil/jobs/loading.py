"""Resources of a job: a slide handle, an encoder, or a model with its encoder on a device.

The last used encoder stays in memory, on the CPU, for the next job that needs it, so that it is built and
hashed only once for many slides, or for an estimate and a prediction. A concurrent job loads its own copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from napari_zoommil.errors import ModelError
from napari_zoommil.files import Stamp, stamp_of
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag, FeatureCache
    from napari_zoommil.bags.pixels import PixelBag
    from napari_zoommil.encoders import Encoder
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.models.spec import ModelSpec

Identity = tuple[str, tuple[tuple[Path, Stamp | None], ...]]
"""An encoder's name, and the stamp of each of its files."""

_kept: dict[Identity, Encoder] = {}
"""The encoder for the next job; at most one, which no job is using."""

_lock = Lock()


def open_own(slide: Path | Slide, mpp: float | None, icc: bool = False) -> Slide:
    """A handle for one job; ``mpp`` and ``icc`` override those of the file, or of the open slide."""
    if isinstance(slide, Slide):
        return slide.reopen(mpp, icc)
    return Slide.open(slide, mpp, icc)


def release() -> None:
    """Release the encoder that is in memory for the next job."""
    with _lock:
        _kept.clear()


def _identity(name: str) -> Identity:
    from napari_zoommil.encoders.registry import is_file
    from napari_zoommil.encoders.trust import LOCAL

    files: list[Path] = []
    if name.startswith(LOCAL):
        files = sorted(Path(name.removeprefix(LOCAL)).glob("*"))
    elif is_file(name):
        files = [Path(name)]
    return name, tuple((file.resolve(), stamp_of(file)) for file in files)


@contextmanager
def encoder_on(device: str, name: str, expected: str | None = None) -> Iterator[Encoder]:
    """An encoder on a device for the time of the context; afterwards the device's memory is released.

    Parameters
    ----------
    device : str
        auto, or a torch device.
    name, expected
        As in :func:`napari_zoommil.encoders.load_encoder`; the name must come from the user.

    Raises
    ------
    EncoderError
        If there is no such encoder, or its hash is not the expected one.
    """
    import torch

    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.encoders.device import choose_device

    chosen = choose_device(device)
    identity = _identity(name)
    with _lock:  # removed, so that no other job moves it to a device
        encoder = _kept.pop(identity, None)
    if encoder is None or expected not in (None, encoder.hash):
        with torch.random.fork_rng(devices=()):  # a new network draws its weights before it gets its own
            encoder = load_encoder(name, expected)
    try:
        yield encoder.to(chosen.torch)
    finally:
        encoder.to(torch.device("cpu"))
        chosen.release()
        with _lock:
            _kept.clear()
            _kept[identity] = encoder


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and its encoder on a device."""

    model: MILModel
    spec: ModelSpec
    network: Encoder | None
    device: Device

    @property
    def encoder(self) -> Encoder:
        """The encoder.

        Raises
        ------
        ModelError
            If the model reads pixels itself.
        """
        if self.network is None:
            raise ModelError(f"{self.spec.architecture} reads pixels and has no encoder")
        return self.network

    def bag(
        self,
        slide: Slide,
        grid: PatchGrid,
        cache: FeatureCache,
        batch_size: int = 64,
        workers: int | None = None,
    ) -> CachedBag | PixelBag:
        """The bag of an open slide: of features, with those in the cache, or of pixels."""
        from napari_zoommil.bags import CachedBag
        from napari_zoommil.bags.pixels import PixelBag

        if self.network is None:
            return PixelBag(slide, grid, batch_size, workers)
        return CachedBag(cache, slide, grid, self.network, batch_size=batch_size, workers=workers)


@contextmanager
def loaded(
    model: str, device: str = "auto", threads: int | None = None, encoder: str | None = None
) -> Iterator[Loaded]:
    """A model and its encoder for the time of the context; afterwards the device's memory is released.

    The model is loaded for each job, which may train it.

    Parameters
    ----------
    model : str
        Shipped model, folder or hub name.
    device : str
        auto, or a torch device.
    threads : int, optional
        Number of CPU threads for computation.
    encoder : str, optional
        The encoder of the model, as named by the user.

    Raises
    ------
    ConsentError
        If the user has to name the encoder of the model, and has not.
    EncoderError
        If the model was trained on another encoder.
    """
    import torch

    from napari_zoommil.encoders.device import choose_device, cpu_threads
    from napari_zoommil.encoders.trust import name_to_load
    from napari_zoommil.models.spec import load_model

    chosen = choose_device(device)
    with torch.random.fork_rng(devices=()):  # a new network draws its weights before it gets its own
        mil, spec = load_model(model)
    with ExitStack() as stack:
        network = None
        if spec.encoder:
            name = name_to_load(model, spec.encoder, spec.encoder_hash, encoder)
            network = stack.enter_context(encoder_on(device, name, spec.encoder_hash))
        stack.callback(chosen.release)
        stack.callback(mil.to, "cpu")
        stack.enter_context(cpu_threads(threads))
        yield Loaded(mil.to(chosen.torch), spec, network, chosen)
