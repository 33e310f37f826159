"""Encoders by name: those of this package, trained ones, any timm or hub model, any TorchScript file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_zoommil.encoders.encoder import Encoder, Preprocessing
from napari_zoommil.encoders.folder import LOCAL, encoder_folder, read_encoder
from napari_zoommil.errors import EncoderError, first_line
from napari_zoommil.files import TORCHSCRIPT, has_ending
from napari_zoommil.resources import resource

Builder = Callable[[str], Encoder]

FILE_PREPROCESSING = Preprocessing(224)
"""Pre-processing for TorchScript files, which state none."""

NIC_PREPROCESSING = Preprocessing(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "area")


def _nic(name: str) -> Encoder:
    from safetensors.torch import load_file

    from napari_zoommil.encoders.networks import NICEncoder

    network = NICEncoder()
    network.load_state_dict(load_file(resource("encoders", "nic", "model.safetensors")))
    return Encoder(name, network, NIC_PREPROCESSING, 128, "BSD-3-Clause", half=False)


def _mean_rgb(name: str) -> Encoder:
    from napari_zoommil.encoders.networks import MeanColour

    return Encoder(
        name, MeanColour(), Preprocessing(None, (0, 0, 0), (1, 1, 1)), 3, "BSD-3-Clause", half=False
    )


def _resnet50(name: str) -> Encoder:
    import timm

    from napari_zoommil.encoders.networks import PooledTrunk
    from napari_zoommil.encoders.random_numbers import own_random_numbers

    pretrained = name != "resnet50-random"
    arguments: dict[str, Any] = {"pretrained": pretrained, "features_only": True, "out_indices": (3,)}
    with own_random_numbers(0):  # the random weights, and so the hash, are always the same
        trunk = _from_hub(name, lambda: timm.create_model("resnet50.tv_in1k", **arguments))
    return Encoder(name, PooledTrunk(trunk), Preprocessing(), 1024, "BSD-3-Clause (torchvision)")


REGISTRY: dict[str, Builder] = {
    "nic": _nic,
    "resnet50": _resnet50,
    "resnet50-random": _resnet50,
    "mean-rgb": _mean_rgb,
}
"""``resnet50-random`` has untrained weights and is for timings only."""


def names() -> tuple[str, ...]:
    """Names of the registered encoders; any timm name, ``hf-hub:…`` name and ``*.pt`` file works too."""
    return tuple(REGISTRY)


def load_encoder(name: str, expected: str | None = None) -> Encoder:
    """Build an encoder on the CPU.

    The name must come from the user: a TorchScript file is code, and a hub model is downloaded. The
    encoder that a model folder names is loaded by
    :func:`~napari_zoommil.encoders.trust.encoder_of_model`.

    Parameters
    ----------
    name : str
        One of :func:`names`, the folder of an encoder that was trained here, a timm model
        (``vit_small_patch16_224``), a hub model (``hf-hub:owner/name``) or the folder of its download
        (``local-dir:path``), or the path of a TorchScript file (``.pt``, ``.ts``), whose code is run.
    expected : str, optional
        The hash that it must have. The hash of a TorchScript file is compared before loading it.

    Raises
    ------
    EncoderError
        If there is no such encoder, its weights cannot be loaded, or its hash differs.
    """
    if name in REGISTRY:
        encoder = _registered(name)
    elif (folder := encoder_folder(name)) is not None:
        encoder = read_encoder(folder)
    elif is_file(name):
        return _torchscript(Path(name), expected)
    else:
        encoder = _timm(name)
    _require(name, encoder.hash, expected)
    return encoder


def is_file(name: str) -> bool:
    """Whether a name is that of a TorchScript file, by its suffix only."""
    return has_ending(Path(name), TORCHSCRIPT)


def _registered(name: str) -> Encoder:
    try:
        return REGISTRY[name](name)
    except FileNotFoundError as error:
        raise EncoderError(str(error)) from error


def _require(name: str, found: str, expected: str | None) -> None:
    if expected not in (None, found):
        raise EncoderError(
            f"the model was trained on other weights of the encoder {name} than these (hash {expected}, "
            f"not {found}); name the encoder that it was trained on, or train it again"
        )


def _from_hub(name: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except Exception as error:  # the hub's client raises many unrelated types
        raise EncoderError(
            f"the weights of {name} could not be loaded ({type(error).__name__}: {first_line(error)}); "
            "check the network, log in with 'hf auth login' if the model is gated, "
            "or download it elsewhere and give its folder as local-dir:PATH"
        ) from error


def _timm(name: str) -> Encoder:
    import timm
    from timm.data import resolve_model_data_config

    if not name.startswith(("hf-hub:", LOCAL)) and not timm.is_model(name.split(".")[0]):
        raise EncoderError(
            f"there is no encoder {name!r}; choose one of {', '.join(names())}, a folder that train-encoder "
            "made, a timm name, hf-hub:…, local-dir:… or a .pt file"
        )
    network = _from_hub(name, lambda: timm.create_model(name, pretrained=True, num_classes=0))
    return timm_encoder(name, network, resolve_model_data_config(network))


def timm_encoder(name: str, network: Any, config: dict[str, Any]) -> Encoder:
    """Wrap a timm network with its data configuration."""
    preprocessing = Preprocessing(
        int(config["input_size"][-1]),
        tuple(config["mean"]),
        tuple(config["std"]),
        "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
    )
    return Encoder(
        name, network, preprocessing, _output_width(network, preprocessing), "see the model's hub page"
    )


def file_hash(path: Path) -> str:
    """16 hexadecimal digits from the bytes of a TorchScript file and its pre-processing; no code is run.

    Raises
    ------
    EncoderError
        If there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise EncoderError(f"there is no TorchScript encoder at {path}")
    digest = hashlib.sha256(repr(sorted(asdict(FILE_PREPROCESSING).items())).encode())
    try:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise EncoderError(f"{path} cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()[:16]


def _torchscript(path: Path, expected: str | None) -> Encoder:
    import torch

    own = file_hash(path)
    _require(str(path), own, expected)  # first, because loading the file already runs its code
    try:
        network = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise EncoderError(
            f"{path.name} is not TorchScript; export the model with torch.jit.trace or torch.jit.script "
            "(pickled checkpoints are not loaded, since they can run code)"
        ) from error
    width = _output_width(network, FILE_PREPROCESSING)
    return Encoder(str(path), network, FILE_PREPROCESSING, width, "of its owner", half=False, known_hash=own)


def _output_width(network: Any, preprocessing: Preprocessing) -> int:
    import torch

    edge = preprocessing.size or 224
    with torch.inference_mode():
        output = network.eval()(torch.zeros(1, 3, edge, edge))
    if output.ndim != 2:
        raise EncoderError(
            f"the encoder returns {tuple(output.shape)}; one vector per patch (batch, width) is needed"
        )
    return int(output.shape[1])
