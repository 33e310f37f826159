"""Types of options, and the entries of ZoomMIL and of ensembles. No torch: commands and docks load fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from annotated_types import Interval

from napari_zoommil.models.registry import Entry, Recipe

Width = Annotated[int, Interval(ge=1, le=65_536)]
Dropout = Annotated[float, Interval(ge=0, le=0.99)]
Count = Annotated[int, Interval(ge=1, le=100_000)]


def of_data_set(name: str, recipe: Recipe) -> Recipe:
    """A recipe with what all models of ZoomMIL's comparison share on a data set.

    Splits and selection of the epoch are those of sec. 4.1 and 4.2, tissue detection those of the authors'
    code. CAMELYON16 and BRIGHT state which slides test; 90 % of the others train on CAMELYON16, and BRIGHT
    states those that validate too.

    Parameters
    ----------
    name : {"crc", "bright", "camelyon16"}
    recipe : Recipe
    """
    shares = {"crc": (0.7, 0.1, 0.2), "camelyon16": (0.9, 0.1, 0.0)}.get(name, recipe.shares)
    return replace(
        recipe,
        monitor="val_f1" if name == "bright" else recipe.monitor,
        shares=shares,
        tissue_detector=f"gaussian-{name}",
        min_tissue=0.5 if name == "crc" else 0.1,
    )


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
        "crc": of_data_set("crc", Recipe(magnifications=(5, 10, 20), options={"k": 16})),
        "crc-eff": of_data_set("crc", Recipe(magnifications=(5, 10), options={"k": 12})),
        "bright": of_data_set("bright", Recipe(magnifications=(1.25, 2.5, 10), options={"k": 12})),
        "bright-eff": of_data_set("bright", Recipe(magnifications=(1.25, 2.5), options={"k": 8})),
        "camelyon16": of_data_set("camelyon16", Recipe(magnifications=(10, 20), options={"k": 300})),
    },
    citation="Thandiackal et al. 2022, Differentiable zooming for multiple instance learning on "
    "whole-slide images, ECCV",
)


@dataclass(frozen=True)
class EnsembleOptions:
    """Options of an ensemble.

    Parameters
    ----------
    member : str
        Architecture of the models that it is made of.
    count : int
        Number of these models.
    settings : dict
        Their options.
    """

    member: str = "zoommil"
    count: Annotated[int, Interval(ge=1, le=100)] = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


ENSEMBLE = Entry(
    target="napari_zoommil.models.ensemble:Ensemble",
    config=EnsembleOptions,
    scales="several",
    recipes={},
)
