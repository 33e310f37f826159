"""Our own models: options and trainings of each. No torch, so that commands and docks read them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from napari_zoommil.models.registry import Entry, Recipe

Width = Annotated[int, Interval(ge=1, le=65_536)]
Dropout = Annotated[float, Interval(ge=0, le=0.99)]
Count = Annotated[int, Interval(ge=1, le=100_000)]


@dataclass(frozen=True)
class ZoomMILOptions:
    """Options of ZoomMIL.

    Parameters
    ----------
    k : int or tuple of int
        Patches zoomed into at each step.
    hidden : int
        Width of the embeddings.
    attention : int
        Width of the attention's hidden layer.
    dropout : float
        Share of embeddings and attention that training leaves out.
    classifier : {"linear", "mlp"}
        The authors' code has one linear layer, the paper names a 2-layer ReLU network.
    topk : {"exact", "paper"}
        Gradient of where to zoom: unbiased, or as the authors' code has it.
    samples : int
        Perturbations in training.
    sigma : float, optional
        Noise; the mode's own by default. In ``exact`` mode it falls linearly to a tenth over training.
    """

    k: Count | tuple[Count, ...] = 16
    hidden: Width = 512
    attention: Width = 256
    dropout: Dropout = 0.25
    classifier: Literal["linear", "mlp"] = "linear"
    topk: Literal["exact", "paper"] = "exact"
    samples: Count = 100
    sigma: Annotated[float | None, Interval(ge=0, le=10)] = None


ZOOMMIL = Entry(
    target="napari_zoommil.models.zoommil:ZoomMIL",
    config=ZoomMILOptions,
    scales="nested",
    recipes={
        "default": Recipe(),
        # The paper's configurations (sec. 4.2), on 256-px patches and 1024-d ResNet-50 features.
        "crc": Recipe(magnifications=(5, 10, 20), options={"k": 16}),
        "crc-eff": Recipe(magnifications=(5, 10), options={"k": 12}),
        "bright": Recipe(magnifications=(1.25, 2.5, 10), options={"k": 12}, monitor="val_f1"),
        "bright-eff": Recipe(magnifications=(1.25, 2.5), options={"k": 8}, monitor="val_f1"),
        "camelyon16": Recipe(magnifications=(10, 20), options={"k": 300}),
    },
    citation="Thandiackal et al. 2022, Differentiable zooming for multiple instance learning on "
    "whole-slide images, ECCV",
)
