"""The network of a model folder: built by its configuration, and filled with its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_zoommil.errors import ModelError, first_line
from napari_zoommil.model_folder import CONFIG, WEIGHTS, malformed, regular

if TYPE_CHECKING:
    from torch import Tensor, nn

N = TypeVar("N", bound="nn.Module")


def build(folder: Path, make: Callable[[], N]) -> N:
    """The network of a model folder with its weights, on the CPU.

    Memory is taken only where the weights fit: a configuration can ask for a network of any size.

    Parameters
    ----------
    folder : Path
    make : callable
        Makes the network that the configuration asks for.

    Raises
    ------
    ModelError
        If there is no such network, or the weights are not its.
    """
    import torch

    _require_shapes(folder, make)
    try:
        with torch.random.fork_rng(devices=()):  # a new network draws its weights before it gets its own
            network = make()
    except Exception as error:  # whatever a constructor raises
        raise malformed(folder, first_line(error)) from error
    read_weights(folder, network)
    return network


def _require_shapes(folder: Path, make: Callable[[], nn.Module]) -> None:
    """Compare weights with a network that has shapes alone."""
    import torch
    from safetensors import safe_open

    try:
        with torch.device("meta"):
            asked = {name: list(tensor.shape) for name, tensor in make().state_dict().items()}
    except Exception:  # it is made again in earnest, which tells what is wrong
        return
    with _weights_of(folder) as path, safe_open(path, "pt") as file:
        stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    wrong = sorted(name for name in {*asked, *stored} if asked.get(name) != stored.get(name))
    if wrong:
        name, *others = wrong
        more = f", and {len(others)} others" if others else ""
        raise ModelError(
            f"the weights in {folder} do not fit its {CONFIG}: {name} is {stored.get(name, 'missing')} "
            f"where {asked.get(name, 'nothing')} is needed{more}"
        )


def read_weights(folder: Path, network: nn.Module) -> None:
    """Fill a network from a model folder.

    Raises
    ------
    ModelError
        If the weights are not its.
    """
    from safetensors.torch import load_file

    with _weights_of(folder) as path:
        weights = load_file(path)
        network.load_state_dict(weights)
    _require_numbers(folder, network, weights)


def _require_numbers(folder: Path, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse what would predict nonsense without a word: NaN, infinities, and numbers that were rounded."""
    for name, own in network.state_dict().items():
        stored = weights.get(name, own)
        if stored.is_floating_point() != own.is_floating_point():
            kind = str(stored.dtype).removeprefix("torch.")
            why = f"{name} is {kind} where {str(own.dtype).removeprefix('torch.')} is needed"
        elif not own.isfinite().all():
            why = f"{name} has values that are no numbers (NaN or infinite)"
        else:
            continue
        raise ModelError(f"the weights in {folder} are damaged: {why}; get another copy, or train it again")


@contextmanager
def _weights_of(folder: Path) -> Iterator[Path]:
    from safetensors import SafetensorError

    try:
        yield regular(folder / WEIGHTS)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} do not fit its {CONFIG}: {first_line(error)}") from error
