"""A model as a folder: ``config.json``, ``model.safetensors`` and a card, as the hub lays them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_zoommil.errors import ModelError, ZoomMILError, first_line
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.resources import resource

if TYPE_CHECKING:
    from torch import nn


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


def write_folder(folder: Path, network: nn.Module, config: dict[str, Any], card: str) -> None:
    """Weights, configuration and card; each file is replaced as a whole.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    from safetensors.torch import save

    make_folder(folder)
    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()})
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    for name, content in ((WEIGHTS, weights), (CONFIG, text.encode()), (CARD, card.encode())):
        write_file(folder / name, content)


def find_model(name: str | Path, kind: Kind = "mil") -> Path:
    """Folder of a shipped model, a local folder, or a model on the hub (``owner/name``).

    Parameters
    ----------
    name : str or Path
    kind : {"mil", "cells"}
        What is looked for; :func:`read_config` tells whether the folder holds it.

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
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return _download(str(name))
    known = ", ".join(shipped(kind))
    raise ModelError(f"there is no model {str(name)!r}; give a folder, a hub name (owner/name), or {known}")


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
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise malformed(folder, error) from error
    if not isinstance(content, dict):
        raise malformed(folder, "it is no table")
    own = next((one for one in get_args(Kind) if MARKS[one] in content), kind)
    if own != kind:
        raise ModelError(f"{name} is {USES[own]}, or choose {' or '.join(shipped(kind))} here")
    return folder, content


def kind_of(name: str | Path) -> Kind:
    """Kind of a shipped model or of one in a folder; ``"cells"`` where that cannot be told."""
    try:
        content = json.loads((find_model(name) / CONFIG).read_text(encoding="utf-8"))
        return "mil" if MARKS["mil"] in content else "cells"
    except (ZoomMILError, OSError, ValueError, TypeError):
        return "cells"  # whoever loads it says what is wrong


def malformed(folder: Path, error: Exception | str) -> ModelError:
    """The error for a folder whose configuration cannot be used."""
    return ModelError(f"{folder} is not a model folder: its {CONFIG} is missing or malformed ({error})")


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
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} do not fit its {CONFIG}: {first_line(error)}") from error
