"""A model as a folder: ``config.json``, ``model.safetensors`` and a card, as the hub lays them out."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_zoommil.errors import ModelError, first_line
from napari_zoommil.models import MODELS, create
from napari_zoommil.resources import resource

if TYPE_CHECKING:
    from torch import nn

    from napari_zoommil.models.mil import MILModel

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

Kind = Literal["mil", "cells"]
"""What a model does: tells slides apart by multiple-instance learning, or finds cells."""

SHIPPED: dict[str, Kind] = {"demo": "mil", "yollo": "cells", "unet": "cells"}
"""Models that come with the package, in ``resources/models``."""

MARKS: dict[Kind, str] = {"mil": "class_names", "cells": "classes"}
"""Entry of its configuration by which a model's kind is known."""

USES: dict[Kind, str] = {
    "mil": "a MIL model; use it with predict/explain/finetune",
    "cells": "a cell model; use it with detect/finetune",
}
"""What is said of a model where another kind is needed."""


def shipped(kind: Kind) -> tuple[str, ...]:
    """Names of the models of a kind that come with the package."""
    return tuple(name for name, own in SHIPPED.items() if own == kind)


@dataclass(frozen=True)
class ModelSpec:
    """What a model was made of and for.

    Attributes
    ----------
    architecture : str
        One of :func:`napari_zoommil.models.names`.
    config : dict
        The architecture's arguments.
    encoder, encoder_hash : str
        Features of other weights are refused.
    patch_size : int
        px, at every magnification.
    min_tissue : float
        Least tissue share of a patch at the lowest magnification.
    class_names : tuple of str
    training : dict
        Data, seeds and figures, as the card states them.
    """

    architecture: str
    config: dict[str, Any]
    encoder: str
    encoder_hash: str
    patch_size: int
    class_names: tuple[str, ...]
    min_tissue: float = 0.1
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def magnifications(self) -> tuple[float, ...]:
        return tuple(float(m) for m in self.config["magnifications"])


def save_model(folder: Path, model: MILModel, spec: ModelSpec, card: str) -> None:
    """Write a model folder; each file is replaced as a whole."""
    write_folder(folder, model, asdict(spec), card)


def write_folder(folder: Path, network: nn.Module, config: dict[str, Any], card: str) -> None:
    """Weights, configuration and card; each file is replaced as a whole."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()})
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    for name, content in ((WEIGHTS, weights), (CONFIG, text.encode()), (CARD, card.encode())):
        part = folder / f".{name}.part"
        part.write_bytes(content)
        os.replace(part, folder / name)


def find_model(name: str | Path, kind: Kind = "mil", fetch: bool = True) -> Path:
    """Folder of a shipped model, a local folder, or a model on the hub (``owner/name``).

    Parameters
    ----------
    name : str or Path
    kind : {"mil", "cells"}
        What is looked for; :func:`read_config` tells whether the folder holds it.
    fetch : bool
        Whether a model on the hub may be fetched: not where the name was read from a file.

    Raises
    ------
    ModelError
        If there is none, with what would be accepted.
    """
    if str(name) in SHIPPED:
        try:
            return resource("models", str(name))
        except FileNotFoundError as error:
            raise ModelError(str(error)) from error
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(
            f"{path.name} is a single file; a model is a folder with {CONFIG} and {WEIGHTS} "
            "(pickled checkpoints are not loaded, since they can run code)"
        )
    if fetch and str(name).count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return _download(str(name))
    known = ", ".join(shipped(kind))
    accepted = "a folder, a hub name (owner/name), or" if fetch else "a folder, or"
    raise ModelError(f"there is no model {str(name)!r}; give {accepted} {known}")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise ModelError(
            f"the model {name} could not be fetched from the hub "
            f"({type(error).__name__}: {first_line(error)}); check the name and the network, "
            "or download it elsewhere and give its folder"
        ) from error


def read_config(name: str | Path, kind: Kind) -> tuple[Path, dict[str, Any]]:
    """Folder and configuration of a model of a kind.

    Raises
    ------
    ModelError
        If there is none, or it is of another kind.
    """
    folder = find_model(name, kind)
    try:
        content = json.loads(regular(folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _malformed(folder, error) from error
    if not isinstance(content, dict):
        raise _malformed(folder, "it is no table")
    own = next((one for one in get_args(Kind) if MARKS[one] in content), kind)
    if own != kind:
        raise ModelError(f"{name} is {USES[own]}, or choose {' or '.join(shipped(kind))} here")
    return folder, content


def regular(path: Path) -> Path:
    """A file as it is, or a link to one.

    Raises
    ------
    OSError
        If it is something else: a pipe in a stranger's folder would be waited for without end.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.name}")
    return path


def _malformed(folder: Path, error: Exception | str) -> ModelError:
    return ModelError(f"{folder} is not a model folder: its {CONFIG} is missing or malformed ({error})")


def read_spec(name: str | Path) -> ModelSpec:
    """What a model is, without loading its weights (torch is not needed).

    Raises
    ------
    ModelError
    """
    folder, content = read_config(name, "mil")
    try:
        content["class_names"] = tuple(content["class_names"])
        spec = ModelSpec(**content)
        assert spec.magnifications
        if not (isinstance(spec.encoder, str) and isinstance(spec.encoder_hash, str)):
            raise TypeError("its encoder is no name with a hash")
    except (KeyError, TypeError, AssertionError) as error:
        raise _malformed(folder, error) from error
    if spec.architecture not in MODELS:
        raise ModelError(f"{folder} holds a {spec.architecture!r}, which this version does not know")
    return spec


def load_model(name: str | Path) -> tuple[MILModel, ModelSpec]:
    """A model on the CPU, ready to predict.

    Raises
    ------
    ModelError
        If there is none, or weights and configuration do not match.
    """
    folder, spec = find_model(name), read_spec(name)
    model = create(spec.architecture, **spec.config)
    read_weights(folder, model)
    if model.classes != len(spec.class_names):
        raise ModelError(
            f"{folder} names {len(spec.class_names)} classes, but its model tells {model.classes} apart"
        )
    return model.eval().requires_grad_(False), spec


def read_weights(folder: Path, network: nn.Module) -> None:
    """Fill a network from a model folder.

    Raises
    ------
    ModelError
        If the weights are not its.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(regular(folder / WEIGHTS)))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} do not fit its {CONFIG}: {first_line(error)}") from error
