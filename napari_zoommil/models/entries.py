"""Types of options, and the entry of ZoomMIL. No torch, so that commands and docks load fast."""

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
        Dropout rate of embeddings and attention.
    classifier : {"linear", "mlp"}
        One linear layer as in the authors' code, or a 2-layer ReLU network as in the paper.
    topk : {"exact", "paper"}
        Gradient of the patch selection: unbiased, or as in the authors' code.
    samples : int
        Number of perturbed samples in training.
    sigma : float, optional
        Standard deviation of the noise; that of the mode by default. In ``exact`` mode it decreases
        linearly to a tenth during training.
    selection : {"learnt", "fixed", "random", "random-patches"}
        Patches to zoom into: those of the highest attention, with a gradient or without one; random ones; or
        random patches of the next magnification, as many as the others lead to. All but the first are for
        ablations (Table 4).
    dual : bool
        Attention for zooming with its own weights, or the same as for pooling.
    aggregation : {"sum", "last", "concatenation"}
        What is classified: sum of the magnifications' representations (eq. 7), only that of the highest, or
        all of them side by side.
    """

    k: Count | tuple[Count, ...] = 16
    hidden: Width = 512
    attention: Width = 256
    dropout: Dropout = 0.25
    classifier: Literal["linear", "mlp"] = "linear"
    topk: Literal["exact", "paper"] = "exact"
    samples: Count = 100
    sigma: Annotated[float | None, Interval(ge=0, le=10)] = None
    selection: Literal["learnt", "fixed", "random", "random-patches"] = "learnt"
    dual: bool = True
    aggregation: Literal["sum", "last", "concatenation"] = "sum"


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
