"""Which encoder a model gets: a model folder is data, and does not choose what is run or fetched.

From a model folder only the encoders of the registry load without asking. One from the hub is fetched only
after the user has named it. A file (TorchScript is code, and is run) is never taken from a folder: the
user names it, and its hash is compared before it is loaded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from napari_zoommil.encoders.encoder import Encoder
from napari_zoommil.encoders.registry import REGISTRY, is_file, load_encoder
from napari_zoommil.errors import ConsentError

Source = Literal["registry", "hub", "file"]
"""Where an encoder comes from: this package, the network (as weights), or a path."""

LOCAL = "local-dir:"

HUB_NAME = re.compile(r"hf-hub:\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?|[a-z][a-z0-9_]*(\.[\w-]+)?", re.ASCII)
"""``hf-hub:owner/name``, of a revision or not, or the name of a timm model, with its tag or not."""


def source_of(name: str) -> Source:
    """Where an encoder of this name would come from; nothing is opened to tell."""
    if name in REGISTRY:
        return "registry"
    return "hub" if HUB_NAME.fullmatch(name) and not is_file(name) else "file"


def name_in_folder(name: str) -> str:
    """What a model folder says of the encoder that it was trained on; of a path the last part alone."""
    if source_of(name) != "file":
        return name
    if name.startswith(LOCAL):
        return LOCAL + Path(name.removeprefix(LOCAL)).name
    return Path(name).name


def name_to_load(model: str, named: str, expected: str, given: str | None = None) -> str:
    """Name of the encoder to load for a model; parameters are those of :func:`encoder_of_model`.

    Raises
    ------
    ConsentError
        If only the user may name such an encoder, and has not.
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
        As the user knows it.
    named, expected : str
        The encoder and its hash as the model folder states them.
    given : str, optional
        The encoder as the user names it.

    Raises
    ------
    ConsentError
        If only the user may name such an encoder, and has not.
    EncoderError
        If there is no such encoder, or it is not the one that the model was trained on.
    """
    return load_encoder(name_to_load(model, named, expected, given), expected)
