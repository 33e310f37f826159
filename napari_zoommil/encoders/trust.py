"""Trust in encoders: a model folder is data and must not choose what code is run or downloaded.

Only registered encoders are loaded because a model folder names them. An encoder from the hub is
downloaded only after the user has named it. The path of a TorchScript file (which is code that is run)
is never taken from a model folder: the user names it, and its hash is compared before it is loaded. Nor is
that of an encoder's folder, which is no code, but lies where the model folder cannot know.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from napari_zoommil.encoders.encoder import Encoder
from napari_zoommil.encoders.folder import LOCAL, encoder_folder, stated_name
from napari_zoommil.encoders.registry import REGISTRY, is_file, load_encoder
from napari_zoommil.errors import ConsentError

Source = Literal["registry", "hub", "file"]
"""Origin of an encoder: this package, the network (as weights), or a path."""

HUB_NAME = re.compile(r"hf-hub:\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?|[a-z][a-z0-9_]*(\.[\w-]+)?", re.ASCII)
"""``hf-hub:owner/name`` with or without a revision, or a timm name with or without its tag."""


def source_of(name: str) -> Source:
    """Origin of an encoder with this name; no file is opened."""
    if name in REGISTRY:
        return "registry"
    return "hub" if HUB_NAME.fullmatch(name) and not is_file(name) else "file"


def name_in_folder(name: str) -> str:
    """The name of its encoder that a model folder stores; for a path, only the last component."""
    if name not in REGISTRY and (folder := encoder_folder(name)) is not None:
        return stated_name(folder)
    if source_of(name) != "file":
        return name
    if name.startswith(LOCAL):
        return LOCAL + Path(name.removeprefix(LOCAL)).name
    return Path(name).name


def absolute_name(name: str) -> str:
    """The name of an encoder for a process that runs in another folder: a path becomes absolute."""
    if name.startswith(LOCAL):
        return LOCAL + str(Path(name.removeprefix(LOCAL)).absolute())
    if name not in REGISTRY and (folder := encoder_folder(name)) is not None:
        return LOCAL + str(folder.absolute())
    return str(Path(name).absolute()) if is_file(name) else name


def name_to_load(model: str, named: str, expected: str, given: str | None = None) -> str:
    """Name of the encoder to load for a model; the parameters are those of :func:`encoder_of_model`.

    Raises
    ------
    ConsentError
        If the user has to name such an encoder, and has not.
    """
    source = source_of(named)
    if given is None and source != "registry":
        raise ConsentError(model, named, expected, source == "hub")
    return named if given is None else given


def encoder_of_model(model: str, named: str, expected: str, given: str | None = None) -> Encoder:
    """The encoder that a model was trained on, on the CPU.

    Parameters
    ----------
    model : str
        Name of the model, for messages.
    named, expected : str
        The encoder and its hash, as the model folder states them.
    given : str, optional
        The encoder that the user names.

    Raises
    ------
    ConsentError
        If the user has to name such an encoder, and has not.
    EncoderError
        If there is no such encoder, or the model was trained on another one.
    """
    return load_encoder(name_to_load(model, named, expected, given), expected)
