"""Encoders by name: what ships, any timm or hub model, any TorchScript file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_zoommil.encoders.encoder import Encoder, Preprocessing
from napari_zoommil.errors import EncoderError, first_line
from napari_zoommil.resources import resource

Builder = Callable[[str], Encoder]

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
    import torch

    from napari_zoommil.encoders.networks import PooledTrunk

    pretrained = name != "resnet50-random"
    arguments: dict[str, Any] = {"pretrained": pretrained, "features_only": True, "out_indices": (3,)}
    with torch.random.fork_rng():
        torch.manual_seed(0)  # untrained weights too are the same, and have the same hash, each time
        trunk = _from_hub(name, lambda: timm.create_model("resnet50.tv_in1k", **arguments))
    return Encoder(name, PooledTrunk(trunk), Preprocessing(), 1024, "BSD-3-Clause (torchvision)")


REGISTRY: dict[str, Builder] = {
    "nic": _nic,
    "resnet50": _resnet50,
    "resnet50-random": _resnet50,
    "mean-rgb": _mean_rgb,
}
"""``resnet50-random`` has untrained weights and serves timings alone."""


def names() -> tuple[str, ...]:
    """Encoders with a name of their own; any timm name, ``hf-hub:…`` and ``*.pt`` file works too."""
    return tuple(REGISTRY)


def load_encoder(name: str) -> Encoder:
    """Build an encoder on the CPU.

    Parameters
    ----------
    name : str
        One of :func:`names`, a timm model (``vit_small_patch16_224``), a hub model
        (``hf-hub:owner/name``) or a folder it was downloaded to (``local-dir:path``), or the path
        of a TorchScript file (``.pt``, ``.ts``).

    Raises
    ------
    EncoderError
        If there is no such encoder, or its weights cannot be had.
    """
    if name in REGISTRY:
        try:
            return REGISTRY[name](name)
        except FileNotFoundError as error:
            raise EncoderError(str(error)) from error
    if Path(name).suffix in (".pt", ".ts", ".pth", ".jit"):
        return _torchscript(Path(name))
    return _timm(name)


def _from_hub(name: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise EncoderError(
            f"the weights of {name} could not be loaded ({type(error).__name__}: {first_line(error)}); "
            "check the network, log in with 'hf auth login' if the model is gated, "
            "or download it elsewhere and give its folder as local-dir:PATH"
        ) from error


def _timm(name: str) -> Encoder:
    import timm
    from timm.data import resolve_model_data_config

    if not name.startswith(("hf-hub:", "local-dir:")) and not timm.is_model(name.split(".")[0]):
        raise EncoderError(
            f"there is no encoder {name!r}; choose one of {', '.join(names())}, a timm name, "
            "hf-hub:…, local-dir:… or a .pt file"
        )
    network = _from_hub(name, lambda: timm.create_model(name, pretrained=True, num_classes=0))
    return timm_encoder(name, network, resolve_model_data_config(network))


def timm_encoder(name: str, network: Any, config: dict[str, Any]) -> Encoder:
    """Wrap a timm network with the data configuration it brings."""
    preprocessing = Preprocessing(
        int(config["input_size"][-1]),
        tuple(config["mean"]),
        tuple(config["std"]),
        "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
    )
    return Encoder(
        name, network, preprocessing, _output_width(network, preprocessing), "see the model's hub page"
    )


def _torchscript(path: Path) -> Encoder:
    import torch

    if not path.is_file():
        raise EncoderError(f"there is no TorchScript encoder at {path}")
    try:
        network = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise EncoderError(
            f"{path.name} is not TorchScript; export the model with torch.jit.trace or torch.jit.script "
            "(pickled checkpoints are not loaded, since they can run code)"
        ) from error
    preprocessing = Preprocessing(224)
    width = _output_width(network, preprocessing)
    # A frozen module has no weights to hash: they are constants of its code.
    source = hashlib.sha256(path.read_bytes()).digest()
    return Encoder(str(path), network, preprocessing, width, "of its owner", half=False, source=source)


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
