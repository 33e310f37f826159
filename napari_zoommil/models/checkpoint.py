"""Weights of a checkpoint that somebody else made: read as data, never run."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_zoommil.errors import FileError, ModelError, first_line
from napari_zoommil.files import MOST_TABLE_BYTES, SAFETENSORS, has_ending, read_file
from napari_zoommil.model_folder import regular

PICKLED = (".pt", ".pth", ".ckpt", ".bin")

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Entries of a checkpoint that hold the weights, where these are not the checkpoint itself."""

PREFIXES = re.compile(r"(?:_orig_mod\.|module\.|model\.)+")
"""What compiling, several devices, and classes around the model put before the names."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint's content.

    Attributes
    ----------
    file : Path
        The file with the weights.
    entries : dict
        Published names, without prefixes → tensors.
    stated : dict
        The ``config.json`` beside the weights; empty without one.
    """

    file: Path
    entries: dict[str, Any]
    stated: dict[str, Any]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint: a file of PyTorch or safetensors, or a folder with one.

    Raises
    ------
    ModelError
        If there is none, it is damaged, it cannot be read without running code, or it holds no weights.
    """
    path = path.expanduser()
    file = _file_in(path) if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"there is no checkpoint {path}; give a file, or a folder that holds one")
    if not has_ending(file, (SAFETENSORS, *PICKLED)):
        raise ModelError(
            f"{file.name} is no checkpoint; give a file that ends in {', '.join((SAFETENSORS, *PICKLED))}"
        )
    read = _safetensors if has_ending(file, (SAFETENSORS,)) else _pickled
    entries: dict[str, Any] = {}
    for name, value in _unwrapped(file, read(file)).items():
        own = PREFIXES.sub("", name, count=1) if PREFIXES.match(name) else name
        if own in entries:
            raise ModelError(
                f"{file.name} holds {own} twice, under different prefixes; give the weights of one model"
            )
        entries[own] = value
    return Checkpoint(file, entries, _stated(path) if path.is_dir() else {})


def _file_in(folder: Path) -> Path:
    """The weights of a folder: the hub's names first, else the only file of such an ending."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(one for one in folder.iterdir() if has_ending(one, (SAFETENSORS, *PICKLED)))
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise ModelError(f"{folder} must hold one checkpoint, but holds {names}; give the file")
    return found[0]


def _stated(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(regular(folder / "config.json"), MOST_TABLE_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, FileError, ValueError, RecursionError) as error:
        raise ModelError(f"the config.json in {folder} cannot be read: {first_line(error)}") from error
    return found if isinstance(found, dict) else {}


def _safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file.name} cannot be read: {first_line(error)}") from error


def _pickled(file: Path) -> Any:
    import pickle

    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # torch's are for developers
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file.name} is damaged, or holds more than weights, and reading that would run code: it is not "
            "read. If you trust it, write its weights alone where it was made: "
            f"torch.save(torch.load({file.name!r}, weights_only=False)['state_dict'], 'weights.pt'), or "
            "….state_dict() of a whole model"
        ) from error
    except Exception as error:  # of a damaged file it may be anything
        raise ModelError(f"{file.name} cannot be read: {first_line(error)}") from error


def _unwrapped(file: Path, found: Any) -> Mapping[str, Any]:
    import torch

    for _ in range(3):
        if not isinstance(found, Mapping):
            break
        if any(isinstance(value, torch.Tensor) for value in found.values()):
            return {str(name): value for name, value in found.items()}
        inner = [found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)]
        found = inner[0] if inner else None
    raise ModelError(f"{file.name} holds no weights by name (a state dict); save model.state_dict()")
