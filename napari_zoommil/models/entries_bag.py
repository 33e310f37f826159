"""Entries of the models that pool one bag: ABMIL, CLAM, DSMIL, MaxMIL and MeanMIL. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Interval

from napari_zoommil.models.entries import Count, Dropout, Width, of_data_set
from napari_zoommil.models.registry import Entry, Recipe

DATA_SETS = {"crc": (5.0, 10.0, 20.0), "bright": (1.25, 2.5, 10.0), "camelyon16": (10.0, 20.0)}
"""Magnifications of ZoomMIL's comparison (sec. 4.2); models of one magnification read the highest."""


def as_compared(recipe: Recipe, several: bool = False) -> dict[str, Recipe]:
    """A recipe for each data set of ZoomMIL's comparison (sec. 4.2 and supplement, sec. E).

    See :func:`~napari_zoommil.models.entries.of_data_set`.
    """
    return {
        name: of_data_set(name, replace(recipe, magnifications=scales if several else scales[-1:]))
        for name, scales in DATA_SETS.items()
    }


@dataclass(frozen=True)
class ABMILOptions:
    """Options of ABMIL.

    Parameters
    ----------
    hidden : int
        Width of the embeddings.
    attention : int
        Width of the attention's hidden layer.
    dropout : float
        Dropout rate of embeddings and attention.
    gated : bool
        Gated attention (Ilse 2018, eq. 9), or plain (eq. 8).
    classifier : {"linear", "mlp"}
        One linear layer, or a 2-layer ReLU network as in ZoomMIL's comparison.
    """

    hidden: Width = 512
    attention: Width = 256
    dropout: Dropout = 0.25
    gated: bool = True
    classifier: Literal["linear", "mlp"] = "linear"


ABMIL = Entry(
    target="napari_zoommil.models.abmil:ABMIL",
    config=ABMILOptions,
    recipes={
        "default": Recipe(weight_decay=1e-5),
        **as_compared(Recipe(options={"classifier": "mlp"})),
    },
    citation="Ilse, Tomczak, Welling 2018, Attention-based deep multiple instance learning, ICML",
)


@dataclass(frozen=True)
class CLAMOptions:
    """Options of CLAM.

    Parameters
    ----------
    hidden : int
        Width of the embeddings.
    attention : int
        Width of the attention's hidden layer: 256 in the authors' small model, 384 in the big one.
    dropout : float
        Dropout rate of embeddings and attention.
    gated : bool
        Gated attention, or plain.
    instance_loss : {"svm", "ce"}
        Loss of instances: smooth top-1 SVM, or cross-entropy.
    sampled : int
        Instances of the highest, and of the lowest attention that the instance loss is computed on; at most
        half of the bag each.
    subtyping : bool
        Classes exclude one another: instances of high attention are negative for the other classes.
    """

    hidden: Width = 512
    attention: Width = 256
    dropout: Dropout = 0.25
    gated: bool = True
    instance_loss: Literal["svm", "ce"] = "svm"
    sampled: Count = 8
    subtyping: bool = False


def _clam_recipes() -> dict[str, Recipe]:
    """The authors' defaults; for the comparison: cross-entropy, share of the bag's loss, B."""
    authors = Recipe(
        weight_decay=1e-5,
        schedule="constant",
        epochs=200,
        least_epochs=50,
        stop_after=20,
        monitor="val_bag_loss",
        weighted=False,
        loss_weights={"bag": 0.7, "instance": 0.3},
    )
    compared = as_compared(replace(authors, epochs=100, weighted=True))
    settings = {"crc": (0.7, 8), "bright": (0.5, 32), "camelyon16": (0.7, 32)}
    for name, (share, sampled) in settings.items():
        compared[name] = replace(
            compared[name],
            loss_weights={"bag": share, "instance": 1 - share},
            options={"instance_loss": "ce", "sampled": sampled},
        )
    return {"default": authors, **compared}


CLAM_SB = Entry(
    target="napari_zoommil.models.clam:CLAMSB",
    config=CLAMOptions,
    recipes=_clam_recipes(),
    citation="Lu et al. 2021, Data-efficient and weakly supervised computational pathology on whole-slide "
    "images, Nature Biomedical Engineering",
)

CLAM_MB = replace(CLAM_SB, target="napari_zoommil.models.clam:CLAMMB")


@dataclass(frozen=True)
class DSMILOptions:
    """Options of DSMIL.

    Parameters
    ----------
    query : int
        Width of the queries.
    queries : {"mlp", "linear"}
        Queries by two layers (ReLU, tanh), or one.
    values : {"identity", "linear", "affine"}
        Values: the features themselves, or of a linear layer after dropout, with ReLU (``"linear"``) or
        without (``"affine"``, as in the first versions of the authors' code).
    dropout : float
        Dropout rate before the linear layer of the values.
    loss : {"task", "bce"}
        Loss of both streams: that of the task, or, of classes, binary cross-entropy of each output as in
        the authors' code.
    """

    query: Width = 128
    queries: Literal["mlp", "linear"] = "mlp"
    values: Literal["identity", "linear", "affine"] = "identity"
    dropout: Dropout = 0.0
    loss: Literal["task", "bce"] = "task"


_HALVES: Mapping[str, float] = {"bag": 0.5, "instance": 0.5}

DSMIL = Entry(
    target="napari_zoommil.models.dsmil:DSMIL",
    config=DSMILOptions,
    scales="several",
    recipes={
        "default": Recipe(
            weight_decay=1e-3,
            optimizer_options={"betas": (0.5, 0.9)},
            schedule="cosine",
            least_rate=5e-6,
            epochs=50,
            stop_after=10,
            weighted=False,
            loss_weights=_HALVES,
            magnifications=(20.0,),
        ),
        **as_compared(Recipe(loss_weights=_HALVES), several=True),
    },
    citation="Li, Li, Eliceiri 2021, Dual-stream multiple instance learning network for whole slide image "
    "classification with self-supervised contrastive learning, CVPR",
)


@dataclass(frozen=True)
class PoolingOptions:
    """Options of MaxMIL and MeanMIL.

    Parameters
    ----------
    hidden : int
        Width of the embeddings.
    dropout : float
        Dropout rate of the embeddings.
    classifier : {"linear", "mlp"}
        One linear layer, or a 2-layer ReLU network with half the width, as in ZoomMIL's comparison.
    sampled : int, optional
        Patches drawn at random in each training step; all by default. Predictions read all patches.
    """

    hidden: Width = 512
    dropout: Dropout = 0.25
    classifier: Literal["linear", "mlp"] = "linear"
    sampled: Annotated[int | None, Interval(ge=1, le=100_000)] = None


MAXMIL = Entry(
    target="napari_zoommil.models.pooling:MaxMIL",
    config=PoolingOptions,
    recipes={
        "default": Recipe(),
        # Of features of a frozen ResNet-34; 128 units in the classifier.
        **as_compared(
            Recipe(
                learning_rate=1e-3,
                weight_decay=1e-4,
                accumulate=8,
                options={"hidden": 256, "classifier": "mlp", "sampled": 100},
            )
        ),
    },
    citation="Max pooling as in Lerousseau et al. 2021, SparseConvMIL: sparse convolutional context-aware "
    "multiple instance learning for whole slide image classification, MICCAI COMPAY",
)

MEANMIL = replace(
    MAXMIL,
    target="napari_zoommil.models.pooling:MeanMIL",
    citation=MAXMIL.citation.replace("Max", "Mean", 1),
)
