"""What a MIL model was made of and for, and its model folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ModelError
from napari_zoommil.model_folder import find_model, malformed, read_config, read_weights, write_folder
from napari_zoommil.models import MODELS, create

if TYPE_CHECKING:
    from napari_zoommil.models.mil import MILModel


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
        raise malformed(folder, error) from error
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
