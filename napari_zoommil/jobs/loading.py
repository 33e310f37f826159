"""Resources of a job: a slide handle, an encoder, a cell model, or a MIL model with its encoder on a device.

Networks stay in memory for the next job, see :mod:`napari_zoommil.jobs.kept`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.errors import EncoderError, ModelError, UnknownEncoderError
from napari_zoommil.geometry import PatchGrid
from napari_zoommil.jobs.kept import Identity, identity_of, is_ready, lend
from napari_zoommil.model_folder import CONFIG, WEIGHTS, Kind, familiarity_of, find_model
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.bags import CachedBag, FeatureCache
    from napari_zoommil.bags.pixels import PixelBag
    from napari_zoommil.cells.model import CellNetwork
    from napari_zoommil.cells.spec import CellSpec
    from napari_zoommil.encoders import Encoder
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.familiarity import Familiarity
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.models.spec import ModelSpec


def open_own(slide: Path | Slide, mpp: float | None, icc: bool = False) -> Slide:
    """A handle for one job; ``mpp`` and ``icc`` override those of the file, or of the open slide.

    A warning tells of a pixel size that the file does not state and that somebody has set before.
    """
    if isinstance(slide, Slide):
        return slide.reopen(mpp, icc)
    own = Slide.open(slide, mpp, icc)
    if own.mpp_set is not None:
        warnings.warn(f"{own.name}: {own.mpp_set}; another one can be given (mpp)", stacklevel=2)
    return own


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
    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.encoders.device import choose_device

    def fits(encoder: Encoder) -> bool:
        return expected in (None, encoder.hash)

    def read() -> tuple[Encoder, None]:
        return load_encoder(name, expected), None

    with lend("encoder", _encoder_identity(name), read, choose_device(device), fits=fits) as (encoder, _):
        yield encoder


def _encoder_identity(name: str) -> Identity:
    from napari_zoommil.encoders.folder import LOCAL, encoder_folder
    from napari_zoommil.encoders.registry import REGISTRY, is_file

    files: list[Path] = []
    if name not in REGISTRY and (folder := encoder_folder(name)) is not None:
        files = [folder / CONFIG, folder / WEIGHTS]
    elif name.startswith(LOCAL):
        files = sorted(Path(name.removeprefix(LOCAL)).glob("*"))
    elif is_file(name):
        files = [Path(name)]
    return identity_of(name, files)


def cell_model_on(device: Device, name: str) -> AbstractContextManager[tuple[CellNetwork, CellSpec]]:
    """A cell model on a device for the time of the context; it must not be changed.

    Raises
    ------
    ModelError
        If there is no such model, or weights and configuration do not match.
    """
    from napari_zoommil.cells.model import load_cell_model

    return lend("cells", _model_identity(name, "cells"), lambda: load_cell_model(name), device)


def is_in_memory(name: str, kind: Kind) -> bool:
    """Whether the next job gets a model without loading it; False if there is no such model."""
    try:
        return is_ready(kind, _model_identity(name, kind))
    except ModelError:
        return False


def _model_identity(name: str, kind: Kind) -> Identity:
    folder = find_model(name, kind)
    return identity_of(name, (folder / CONFIG, folder / WEIGHTS))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and its encoder on a device."""

    model: MILModel
    spec: ModelSpec
    network: Encoder | None
    device: Device
    familiarity: Familiarity | None = None

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


def named_by_user(model: str, encoder: str | None, stated: str = "") -> str:
    """The encoder of a model without its hash: one that was imported, or trained on feature files.

    Parameters
    ----------
    stated : str
        Its name in the feature files; empty if there were none.

    Raises
    ------
    UnknownEncoderError
        If the user has not named it.
    """
    if encoder is None and stated:
        raise UnknownEncoderError(
            f"{model} was trained on feature files of the encoder {stated!r}; give such files with "
            "--features, or name an encoder that makes the same features with --encoder (encoder=… in "
            "Python, a field in the dock)",
            stated,
        )
    if encoder is None:
        raise UnknownEncoderError(
            f"{model} was imported without the name of its encoder; name the one that it was trained on with "
            "--encoder (encoder=… in Python, a field in the dock), or import it again with --encoder"
        )
    return encoder


def require_width(encoder: Encoder, spec: ModelSpec, model: str) -> None:
    """Refuse an encoder whose features a model cannot take.

    Raises
    ------
    EncoderError
    """
    width = spec.config.get("in_features")
    if encoder.dim != width:
        raise EncoderError(
            f"{model} takes {width} features per patch, but the encoder {encoder.name} makes {encoder.dim}; "
            "name the encoder that it was trained on"
        )


@contextmanager
def loaded(
    model: str,
    device: str = "auto",
    threads: int | None = None,
    encoder: str | None = None,
    *,
    to_train: bool = False,
    with_encoder: bool = True,
) -> Iterator[Loaded]:
    """A model and its encoder for the time of the context; afterwards the device's memory is released.

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
    to_train : bool
        Whether the job changes the model's weights; then no other job gets this copy.
    with_encoder : bool
        Whether the job encodes patches; it does not if their features are in files.

    Raises
    ------
    ConsentError
        If the user has to name the encoder of the model, and has not.
    EncoderError
        If the model was trained on another encoder.
    ModelError
        If there is no such model.
    """
    from napari_zoommil.encoders.device import choose_device, cpu_threads
    from napari_zoommil.encoders.trust import name_to_load
    from napari_zoommil.models.spec import load_model

    chosen = choose_device(device)
    identity = _model_identity(model, "mil")
    with ExitStack() as stack:
        lent = lend("mil", identity, lambda: load_model(model), chosen, changes=to_train)
        mil, spec = stack.enter_context(lent)
        network = None
        if not with_encoder:
            pass
        elif spec.encoder and spec.encoder_hash:
            name = name_to_load(model, spec.encoder, spec.encoder_hash, encoder)
            network = stack.enter_context(encoder_on(device, name, spec.encoder_hash))
        elif spec.takes == "bag":
            network = stack.enter_context(encoder_on(device, named_by_user(model, encoder, spec.encoder)))
            require_width(network, spec, model)
        stack.enter_context(cpu_threads(threads))
        yield Loaded(mil, spec, network, chosen, familiarity_of(model, "mil"))
