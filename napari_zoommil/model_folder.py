"""A model as a folder: ``config.json``, ``model.safetensors`` and a card, as the hub lays them out.

Its weights are read by :mod:`napari_zoommil.model_weights`.

Every configuration states the model's ``kind`` and the ``format`` of the configuration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from napari_zoommil.configuration import parsed
from napari_zoommil.errors import FileError, ModelError, ZoomMILError, first_line, short
from napari_zoommil.familiarity import file as familiarity_file
from napari_zoommil.files import MOST_TABLE_BYTES, make_folder, read_file, write_file, write_json
from napari_zoommil.resources import resource

if TYPE_CHECKING:
    from torch import nn

    from napari_zoommil.familiarity import Familiarity

T = TypeVar("T")

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

LONGEST_CARD = 200_000
"""Characters of a card that are read."""

FAMILIARITY = "familiarity"
"""Entry of the configuration with the hash of the statistics of the training."""

FORMAT = 1
"""Of the configurations that are written; those of a later one are refused."""

Kind = Literal["mil", "cells", "encoder"]
"""What a model does: tells slides apart by multiple-instance learning, finds cells, or describes patches."""

SHIPPED: dict[str, Kind] = {"demo": "mil", "yollo": "cells", "unet": "cells", "haematoxylin": "cells"}
"""Models that come with the package, in ``resources/models``."""

UNTRAINABLE = ("haematoxylin",)
"""Of these, those without weights."""

MARKS: dict[Kind, str] = {"mil": "class_names", "cells": "classes"}
"""Entry by which the kind is known where the configuration does not state it."""

USES: dict[Kind, str] = {
    "mil": "a MIL model; use it with predict/explain/finetune",
    "cells": "a cell model; use it with detect/finetune",
    "encoder": "an encoder; use it with embed/train",
}
"""What is said of a model where another kind is needed."""


SHIPPED_ENCODERS = ("nic",)
"""Encoders that come with the package, in ``resources/encoders``."""


def shipped(kind: Kind) -> tuple[str, ...]:
    """Names of the models of a kind that come with the package."""
    return tuple(name for name, own in SHIPPED.items() if own == kind)


def write_folder(
    folder: Path,
    network: nn.Module,
    config: dict[str, Any],
    card: str,
    kind: Kind,
    familiarity: Familiarity | None = None,
) -> None:
    """Weights, configuration, statistics of the training and card; each file is replaced as a whole.

    Parameters
    ----------
    folder : Path
    network : nn.Module
    config : dict
        Written after ``kind`` and ``format``.
    card : str
    kind : {"mil", "cells", "encoder"}
    familiarity : Familiarity, optional
        Statistics of what the model was trained on.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    from safetensors.torch import save

    make_folder(folder)
    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()})
    write_file(folder / WEIGHTS, weights)
    write_json(folder / CONFIG, {"kind": kind, "format": FORMAT, **config, **_kept(folder, familiarity)})
    write_file(folder / CARD, card.encode())


def _kept(folder: Path, familiarity: Familiarity | None) -> dict[str, str]:
    """Write statistics into a folder; the entry of its configuration that vouches for them."""
    if familiarity is None:
        return {}
    content = familiarity_file.to_bytes(familiarity)
    write_file(folder / familiarity_file.NAME, content)
    return {FAMILIARITY: familiarity_file.hash_of(content)}


def keep_familiarity(folder: Path, familiarity: Familiarity) -> None:
    """Add statistics of the training to a model folder, or replace them; nothing else changes.

    Raises
    ------
    FileError
        If they cannot be written.
    ModelError
        If it is no model folder.
    """
    content = _read(folder)
    write_json(folder / CONFIG, content | _kept(folder, familiarity))


def familiarity_of(name: str | Path, kind: Kind) -> Familiarity | None:
    """Statistics of what a model was trained on; None where its folder keeps none.

    Raises
    ------
    ModelError
        If there is no such model, or they are not those that were written with it.
    """
    folder, content = read_config(name, kind)
    expected = content.get(FAMILIARITY, "")
    if not isinstance(expected, str):
        raise malformed(folder, f"{FAMILIARITY} is {expected!r}, not a text")
    return familiarity_file.read_familiarity(folder, expected)


def find_model(name: str | Path, kind: Kind = "mil", fetch: bool = True) -> Path:
    """Folder of a shipped model, a local folder, or a model on the hub (``owner/name``).

    Parameters
    ----------
    name : str or Path
    kind : {"mil", "cells", "encoder"}
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
            "(import-model makes one of a checkpoint of CLAM, DSMIL, TransMIL, ZoomMIL or MIL-Lab)"
        )
    if fetch and _may_be_on_hub(str(name)):
        return _download(str(name))
    known = ", ".join(shipped(kind))
    accepted = "a folder, a hub name (owner/name), or" if fetch else "a folder, or"
    raise ModelError(f"there is no model {str(name)!r}; give {accepted} {known}")


def absolute_model(name: str | Path) -> str:
    """The name of a model for a process in another working folder: a path that is here becomes absolute."""
    path = Path(name).expanduser()
    return str(path.absolute()) if str(name) not in SHIPPED and path.exists() else str(name)


def _may_be_on_hub(name: str) -> bool:
    """Whether a name is ``owner/name`` and not the path of a folder that is missing in one that is there."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).parent.is_dir()


def cached_models() -> dict[str, Path]:
    """Models of this package in the hub's cache: ``owner/name`` and the latest folder of each."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError, ValueError):
        return {}
    found = {}
    for repository in sorted(repositories, key=lambda one: one.repo_id):
        revisions = sorted(repository.revisions, key=lambda one: one.last_modified, reverse=True)
        ours = [one.snapshot_path for one in revisions if _is_ours(one.snapshot_path)]
        if ours:
            found[repository.repo_id] = ours[0]
    return found


def _is_ours(folder: Path) -> bool:
    try:
        return _kind(_read(folder)) is not None
    except ModelError:
        return False


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, CARD, familiarity_file.NAME]))
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise ModelError(
            f"there is no folder {name}, and no model of this name could be fetched from the hub "
            f"({type(error).__name__}: {first_line(error)}); check the name and the network, "
            "or download it elsewhere and give its folder"
        ) from error


def read_card(folder: Path) -> str:
    """The card of a model folder; empty where it has none that can be read."""
    try:
        with regular(folder / CARD).open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(LONGEST_CARD)
    except OSError:
        return ""


def read_config(name: str | Path, kind: Kind) -> tuple[Path, dict[str, Any]]:
    """Folder and configuration of a model of a kind.

    Raises
    ------
    ModelError
        If there is none, it is of another kind, or a later version made it.
    """
    folder = find_model(name, kind)
    content = _read(folder)
    own = _kind(content) or kind
    if own != kind:
        here = f", or choose {' or '.join(shipped(kind))} here" if shipped(kind) else ""
        raise ModelError(f"{name} is {USES[own]}{here}")
    return folder, content


def kind_of(name: str | Path) -> Kind:
    """Kind of a shipped model or of one in a folder; ``"cells"`` where that cannot be told."""
    try:
        return _kind(_read(find_model(name))) or "cells"
    except ZoomMILError:
        return "cells"  # whoever loads it says what is wrong


def _read(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder, of a format that this version knows."""
    try:
        content = json.loads(read_file(regular(folder / CONFIG), MOST_TABLE_BYTES).decode("utf-8-sig"))
    except (OSError, FileError, ValueError, RecursionError) as error:
        raise malformed(folder, error) from error
    if not isinstance(content, dict):
        raise malformed(folder, "it is not a JSON object")
    made, kind = content.get("format", FORMAT), content.get("kind")
    if isinstance(made, bool) or not isinstance(made, int) or made < 1:
        raise malformed(folder, f"format is {made!r}, not a whole number from 1 on")
    if not isinstance(kind, str | None):
        raise malformed(folder, f"kind is {kind!r}, not a text")
    if made > FORMAT or kind not in (None, *USES):
        raise ModelError(
            f"{folder} was made by a later version of napari-zoommil (kind {short(kind)}, "
            f"format {short(made)}); update the package to use it"
        )
    return content


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


def _kind(content: dict[str, Any]) -> Kind | None:
    """As the configuration states it; by what it holds where an earlier version wrote it."""
    stated = cast("Kind | None", content.get("kind"))
    return stated or next((one for one, mark in MARKS.items() if mark in content), None)


def malformed(folder: Path, error: Exception | str) -> ModelError:
    """The error for a folder whose configuration cannot be used."""
    return ModelError(
        f"{folder} is not a model folder: its {CONFIG} is missing or malformed ({short(error)}); "
        "correct it, or choose another folder"
    )


def require_distinct(folder: Path, entry: str, names: Sequence[str]) -> None:
    """Refuse an entry of a configuration with a name twice.

    Raises
    ------
    ModelError
    """
    if len(set(names)) < len(names):
        raise malformed(folder, f"{entry} has a name twice")


def parse(shape: type[T], folder: Path, content: dict[str, Any]) -> T:
    """A configuration as a dataclass, see :func:`napari_zoommil.configuration.parsed`.

    Raises
    ------
    ModelError
        If an entry is missing or wrong, which it names.
    """
    try:
        return parsed(shape, content)
    except ValueError as error:
        raise malformed(folder, error) from error
