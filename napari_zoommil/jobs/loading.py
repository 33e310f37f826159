"""What a job opens for itself: a slide handle, an encoder or a model with its encoder on a device.

The encoder that was used last stays in memory, on the CPU, for the next job that needs it: of many slides, or
after an estimate, it is built and hashed once. A job that runs beside another one loads a copy of its own.
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
"""An encoder's name, and the state of each file that it is made of."""

_kept: dict[Identity, Encoder] = {}
"""The encoder that no job uses at the moment; one at most."""

_lock = Lock()


def open_own(slide: Path | Slide, mpp: float | None, icc: bool = False) -> Slide:
    """A handle of the job's own; ``mpp`` and ``icc`` overrule what the file, or the open slide, states."""
    if isinstance(slide, Slide):
        return slide.reopen(mpp, icc)
    return Slide.open(slide, mpp, icc)


def release() -> None:
    """Forget the encoder that is kept for the next job, and free its memory."""
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
    """Lend an encoder, on a device; leaving the context frees the device's memory.

    Parameters
    ----------
    device : str
        auto, or a torch device.
    name, expected
        As :func:`napari_zoommil.encoders.load_encoder` takes them: the name must come from the user.

    Raises
    ------
    EncoderError
        If there is no such encoder, or it has other weights than expected.
    """
    import torch

    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.encoders.device import choose_device

    chosen = choose_device(device)
    identity = _identity(name)
    with _lock:  # taken out, so that no two jobs move it
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
    """Everything a prediction computes with."""

    model: MILModel
    spec: ModelSpec
    network: Encoder | None
    device: Device

    @property
    def encoder(self) -> Encoder:
        """What makes features of patches.

        Raises
        ------
        ModelError
            If the model reads pixels itself.
        """
        if self.network is None:
            raise ModelError(f"{self.spec.architecture} reads pixels and has no features of patches")
        return self.network

    def bag(
        self,
        slide: Slide,
        grid: PatchGrid,
        cache: FeatureCache,
        batch_size: int = 64,
        workers: int | None = None,
    ) -> CachedBag | PixelBag:
        """What the model looks at of an open slide: features, those of the cache among them, or pixels."""
        from napari_zoommil.bags import CachedBag
        from napari_zoommil.bags.pixels import PixelBag

        if self.network is None:
            return PixelBag(slide, grid, batch_size, workers)
        return CachedBag(cache, slide, grid, self.network, batch_size=batch_size, workers=workers)


@contextmanager
def loaded(
    model: str, device: str = "auto", threads: int | None = None, encoder: str | None = None
) -> Iterator[Loaded]:
    """Load a model and its encoder; leaving the context frees the device's memory.

    The model is the job's own, which may train it: reading one takes milliseconds.

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
