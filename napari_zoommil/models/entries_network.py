"""Options and recipes of the models whose patches meet: in one bag, by attention or by place. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Interval

from napari_zoommil.models.entries import Count, Dropout, Width
from napari_zoommil.models.entries_bag import as_compared
from napari_zoommil.models.registry import Entry, Recipe


@dataclass(frozen=True)
class TransMILOptions:
    """Options of TransMIL.

    Parameters
    ----------
    hidden : int
        Width of the tokens, a multiple of ``heads``.
    heads : int
        Heads of the self-attention.
    landmarks : int
        Landmarks of the Nyström approximation.
    dropout : float
        Dropout rate of each layer's output.
    """

    hidden: Width = 512
    heads: Annotated[int, Interval(ge=1, le=64)] = 8
    landmarks: Annotated[int, Interval(ge=1, le=4096)] = 256
    dropout: Dropout = 0.1


_TRANSMIL = Recipe(
    optimizer="lookahead_radam", learning_rate=2e-4, weight_decay=1e-5, schedule="constant",
    epochs=200, stop_after=10, accumulate=2,
)  # fmt: skip
TRANSMIL = Entry(
    target="napari_zoommil.models.transmil:TransMIL",
    config=TransMILOptions,
    scales="one",
    recipes={
        "default": _TRANSMIL,
        **as_compared(replace(_TRANSMIL, accumulate=1)),
    },
    citation="Shao et al. 2021, TransMIL: transformer based correlated multiple instance learning for whole "
    "slide image classification, NeurIPS",
)


@dataclass(frozen=True)
class MSMILOptions:
    """Options of MSMIL.

    Parameters
    ----------
    hidden : int or tuple of int
        Widths of the layers that embed a patch.
    attention : int
        Width of the attention's hidden layer.
    dropout : float
        Dropout rate of the embeddings.
    adversarial : float
        Largest factor α of the reversed gradient of the domain-adversarial branch, which learns to tell the
        training slides apart; 0 for no such branch. Published: 0.001 or 0.0001.
    """

    hidden: Width | tuple[Width, ...] = 512
    attention: Width = 128
    dropout: Dropout = 0.25
    adversarial: Annotated[float, Interval(ge=0, le=1)] = 0.0


MSMIL = Entry(
    target="napari_zoommil.models.msmil:MSMIL",
    config=MSMILOptions,
    scales="several",
    recipes={
        "default": Recipe(),
        **as_compared(Recipe(), several=True),
        "adversarial": Recipe(options={"adversarial": 1e-3}),
    },
    citation="Hashimoto et al. 2020, Multi-scale domain-adversarial multiple-instance CNN for cancer subtype "
    "classification with unannotated histopathological images, CVPR",
)


@dataclass(frozen=True)
class SparseConvMILOptions:
    """Options of SparseConvMIL.

    Parameters
    ----------
    channels : tuple of int
        Output channels of the convolutions.
    hidden : int
        Width of the classifier's hidden layer.
    downsample : float
        Edge of a site, in distances of neighbouring patches: at 2, four patches share a site.
    sampled : int, optional
        Patches drawn at random in each training step; all by default. Predictions read all patches.
    """

    channels: tuple[Width, ...] = (32, 32)
    hidden: Width = 128
    downsample: Annotated[float, Interval(ge=0.01, le=1000)] = 1.0
    sampled: Count | None = None


SPARSECONVMIL = Entry(
    target="napari_zoommil.models.sparseconvmil:SparseConvMIL",
    config=SparseConvMILOptions,
    scales="one",
    recipes={
        "default": Recipe(
            learning_rate=2e-3, weight_decay=1e-6, schedule="constant", epochs=200, accumulate=2
        ),
        **as_compared(Recipe(learning_rate=1e-3, weight_decay=1e-4, accumulate=8, options={"sampled": 100})),
    },
    citation="Lerousseau et al. 2021, SparseConvMIL: sparse convolutional context-aware multiple instance "
    "learning for whole slide image classification, MICCAI COMPAY",
)


@dataclass(frozen=True)
class SparseConvMILPixelsOptions(SparseConvMILOptions):
    """Options of SparseConvMIL on pixels.

    Parameters
    ----------
    channels : tuple of int
        Output channels of the convolutions.
    hidden : int
        Width of the classifier's hidden layer.
    downsample : float
        Edge of a site, in distances of neighbouring patches: at 2, four patches share a site.
    sampled : int, optional
        Patches drawn at random in each training step. Predictions read all patches.
    validated : int, optional
        Patches of a validation slide that are read after each epoch, the same each time; all if it is none.
        What is said of held-out slides in the end is of all their patches.
    pretrained : bool
        Begin the training with ImageNet weights of the ResNet-34, which are fetched from the hub.
    """

    sampled: Count | None = 100
    validated: Count | None = 400
    pretrained: bool = True


SPARSECONVMIL_PIXELS = replace(
    SPARSECONVMIL,
    target="napari_zoommil.models.sparseconvmil_pixels:SparseConvMILPixels",
    config=SparseConvMILPixelsOptions,
    takes="pixels",
    recipes={
        name: replace(
            recipe,
            part_rates={"encoder": 1e-5},
            # Sites of 128 px for patches of 256 px.
            options={} if name == "default" else {"downsample": 0.5},
        )
        for name, recipe in SPARSECONVMIL.recipes.items()
    },
)
