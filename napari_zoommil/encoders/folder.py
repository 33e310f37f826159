"""Encoders as folders, which ``train-encoder`` writes: data alone, no code.

``config.json`` states the network's sizes and pre-processing; ``model.safetensors`` holds the weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder, EncoderSizes
from napari_zoommil.encoders.encoder import Encoder, Preprocessing
from napari_zoommil.errors import EncoderError, FileError, ModelError
from napari_zoommil.files import MOST_TABLE_BYTES, read_file
from napari_zoommil.model_folder import CONFIG, Kind, malformed, parse, read_config, regular, write_folder
from napari_zoommil.model_weights import build

if TYPE_CHECKING:
    from napari_zoommil.familiarity import Familiarity

LOCAL = "local-dir:"
"""Before the name of an encoder that is a folder, also where it is that of a download from the hub."""

KIND: Kind = "encoder"

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class EncoderSpec:
    """The configuration of an encoder's folder.

    Attributes
    ----------
    sizes : EncoderSizes
    preprocessing : Preprocessing
    method : str
        How it was trained.
    patch_size : int
        Edge of the patches that it was trained on, px.
    mpp : float or None
        Their resolution, µm/px; None of pictures without one.
    licence : str
        Of the weights.
    network : str
        The network that the sizes are of.
    classes : tuple of str
        That it was taught to tell apart; none without supervision.
    training : dict
        Counts, metrics, recipe and versions of the training.
    """

    sizes: EncoderSizes
    preprocessing: Preprocessing
    method: str
    patch_size: Annotated[int, Interval(ge=1, le=1_000_000)]
    mpp: Annotated[float, Interval(gt=0, le=1e6)] | None = None
    licence: str = ""
    network: Literal["convolutional"] = "convolutional"
    classes: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> str:
        """``128 px at 0.5 µm/px``."""
        return f"{self.patch_size} px" + (f" at {self.mpp:.3g} µm/px" if self.mpp else "")


def preprocessing_for(sizes: EncoderSizes) -> Preprocessing:
    """Averaged to the input's edge, in [−1, 1] as the tanh of a decoder."""
    return Preprocessing(sizes.edge, HALF, HALF, "area")


def as_encoder(
    name: str, network: ConvolutionalEncoder, licence: str = "", preprocessing: Preprocessing | None = None
) -> Encoder:
    """A network as an encoder; such small ones are not faster in half precision."""
    how = preprocessing or preprocessing_for(network.sizes)
    return Encoder(name, network, how, network.sizes.code, licence, half=False)


def save_encoder(
    folder: Path,
    network: ConvolutionalEncoder,
    spec: EncoderSpec,
    card: str,
    familiarity: Familiarity | None = None,
) -> None:
    """Write an encoder's folder, see :func:`napari_zoommil.model_folder.write_folder`.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    write_folder(folder, network, asdict(spec), card, KIND, familiarity)


def encoder_folder(name: str) -> Path | None:
    """The folder that a name means, with or without ``local-dir:``, if an encoder of this package is in it.

    A folder with another model of this package is returned too: reading it tells what it is.
    """
    path = Path(name.removeprefix(LOCAL)).expanduser()
    try:
        content = json.loads(read_file(regular(path / CONFIG), MOST_TABLE_BYTES).decode("utf-8-sig"))
    except (OSError, FileError, ValueError, RecursionError):
        return None
    return path if isinstance(content, dict) and isinstance(content.get("kind"), str) else None


def read_encoder_spec(folder: Path) -> EncoderSpec:
    """The configuration of an encoder's folder.

    Raises
    ------
    ModelError
        If it is missing or malformed, or of another kind of model.
    """
    _, content = read_config(folder, KIND)
    spec = parse(EncoderSpec, folder, content)
    how = spec.preprocessing
    if how.size != spec.sizes.edge:
        raise malformed(folder, f"preprocessing.size is {how.size}, but sizes.edge {spec.sizes.edge}")
    if not all(map(math.isfinite, (*how.mean, *how.std))) or min(how.std) <= 0:
        raise malformed(folder, "preprocessing.mean and std are finite numbers, and std above 0")
    return spec


def read_encoder(folder: Path) -> Encoder:
    """The encoder in a folder, on the CPU, with the folder's name.

    Memory is taken only where the weights have the sizes that the configuration states.

    Raises
    ------
    EncoderError
        If it is no encoder's folder, or weights and configuration do not match.
    """
    try:
        spec = read_encoder_spec(folder)
        network = build(folder, lambda: ConvolutionalEncoder(spec.sizes))
    except ModelError as error:
        raise EncoderError(str(error)) from error
    return as_encoder(stated_name(folder), network, spec.licence, spec.preprocessing)


def stated_name(folder: Path) -> str:
    """The name that features and models state: where the folder lies is nobody's concern."""
    return LOCAL + folder.absolute().name
