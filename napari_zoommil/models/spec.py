"""Specification of a MIL model, and its model folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval, Len, MaxLen

from napari_zoommil.errors import MagnificationError, ModelError, short
from napari_zoommil.geometry import zoom_ratios
from napari_zoommil.model_folder import (
    find_model,
    malformed,
    parse,
    read_config,
    require_distinct,
    write_folder,
)
from napari_zoommil.model_weights import build
from napari_zoommil.models.registry import Takes, create, entry
from napari_zoommil.models.task import Classification, Regression, Task
from napari_zoommil.slides.tissue_published import DEFAULT

if TYPE_CHECKING:
    from napari_zoommil.familiarity import Familiarity
    from napari_zoommil.models.mil import MILModel


SMALLEST_PATCH = 8
"""Edge of the smallest patches, px: a slide would have too many of smaller ones."""


@dataclass(frozen=True)
class ModelSpec:
    """Architecture, input and task of a trained model.

    Attributes
    ----------
    architecture : str
        One of :func:`napari_zoommil.models.names`.
    config : dict
        The architecture's arguments.
    encoder, encoder_hash : str
        The encoder and the hash of its weights; features with another hash are refused.
    patch_size : int
        px, at every magnification; 0 of a model that reads images of any size.
    min_tissue : float
        Least tissue share of a patch at the lowest magnification.
    class_names : tuple of str
        Classes of a classification; empty for a regression.
    training : dict
        Data, seeds and metrics, as in the model card.
    regression : Regression, optional
        The task, if it is a regression.
    tissue_detector : str
        By which its patches are found, see :mod:`napari_zoommil.slides.tissue_published`.
    temperature : float
        Of a classification, see :class:`~napari_zoommil.models.task.Classification`.
    """

    architecture: Annotated[str, MaxLen(100)]
    config: dict[str, Any]
    encoder: Annotated[str, MaxLen(1000)]
    encoder_hash: Annotated[str, MaxLen(100)]
    patch_size: Annotated[int, Interval(ge=0, le=4096)]
    class_names: tuple[Annotated[str, Len(1, 200)], ...]
    min_tissue: Annotated[float, Interval(ge=0, le=1)] = 0.1
    training: dict[str, Any] = field(default_factory=dict)
    regression: Regression | None = None
    tissue_detector: str = DEFAULT
    temperature: Annotated[float, Interval(ge=0.01, le=100)] = 1.0

    @property
    def task(self) -> Task:
        return self.regression or Classification(self.class_names, self.temperature)

    @property
    def takes(self) -> Takes:
        """What it reads: features, pixels or images; of an ensemble, what its members do."""
        return entry(str(self.config.get("member", self.architecture))).takes

    @property
    def magnifications(self) -> tuple[float, ...]:
        return tuple(float(m) for m in self.config["magnifications"])


def save_model(
    folder: Path, model: MILModel, spec: ModelSpec, card: str, familiarity: Familiarity | None = None
) -> None:
    """Write a model folder; each file is replaced atomically."""
    write_folder(folder, model, asdict(spec), card, "mil", familiarity)


def read_spec(name: str | Path) -> ModelSpec:
    """The specification of a model, read without its weights and without torch.

    Raises
    ------
    ModelError
    """
    folder, content = read_config(name, "mil")
    spec = parse(ModelSpec, folder, content)
    try:
        zoom_ratios(spec.magnifications)
    except KeyError as error:
        raise malformed(folder, "config.magnifications is missing") from error
    except (TypeError, ValueError, OverflowError, MagnificationError) as error:
        raise malformed(folder, f"config.magnifications: {error}") from error
    require_distinct(folder, "class_names", spec.class_names)
    try:
        takes = spec.takes
    except ModelError as error:
        raise ModelError(
            f"{folder} holds a {spec.architecture!r}, which this version does not support: {error}"
        ) from error
    named, told = len(spec.task.names), spec.config.get("classes", 0)
    if named != told:  # asked before a network of as many is made
        raise ModelError(f"{folder} names {named} classes, but its model has {short(told)}")
    if takes != "image" and spec.patch_size < SMALLEST_PATCH:
        raise malformed(folder, f"patch_size: {spec.patch_size} is less than {SMALLEST_PATCH}")
    return spec


def heads_of(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the heads of a model, without its weights.

    Raises
    ------
    ModelError
        If it cannot be built.
    """
    import torch

    with torch.device("meta"):
        model = create(spec.architecture, **spec.config)
    model.task = spec.task
    return model.heads


def load_model(name: str | Path) -> tuple[MILModel, ModelSpec]:
    """A model on the CPU, ready to predict.

    Raises
    ------
    ModelError
        If there is none, or weights and configuration do not match.
    """
    folder, spec = find_model(name), read_spec(name)
    model = build(folder, lambda: create(spec.architecture, **spec.config))
    model.task, model.patch_size, model.encoder_hash = spec.task, spec.patch_size, spec.encoder_hash
    return model.eval().requires_grad_(False), spec
