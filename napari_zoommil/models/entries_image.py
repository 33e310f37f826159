"""Options and recipes of the models that read an image in place of patches. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Interval

from napari_zoommil.models.blocks.receptive_field import kernels
from napari_zoommil.models.entries import Count, Width
from napari_zoommil.models.registry import Entry, Recipe

Four = tuple[Count, Count, Count, Count]


@dataclass(frozen=True)
class BagNetOptions:
    """Options of BagNet.

    Parameters
    ----------
    receptive_field : int
        What the model sees of the image at each place, px: 3, 5, 9, 17, 33 or 177 with the default blocks
        and strides. About as large as what is looked for.
    width : float
        Factor of the number of filters (capacity).
    blocks : tuple of int
        Of the four stages; 1,1,1,1 is several times as fast, with the same receptive fields up to 33.
    strides : tuple of int
        Of the four stages; their product is the distance between places, px.
    norm : {"instance", "batch"}
        Normalisation: of each image by itself as in the paper, or with fixed statistics, so that a place
        depends on nothing outside its receptive field. Images are read one by one: in training, statistics
        of a batch are those of an image.
    pooling : {"max", "lse", "lme", "mean", "attention"}
        Of each channel over all places: maximum, logarithm of the sum of exponentials, or of their mean,
        which does not grow with the size of the image, mean, or soft attention.
    attention : int
        Width of the attention's hidden layer.
    compensate : bool
        2.5 times as many filters in the 1 × 1 convolutions that a smaller receptive field has in place of
        3 × 3 ones.
    """

    receptive_field: Count = 33
    width: Annotated[float, Interval(ge=0.01, le=4)] = 1.0
    blocks: Four = (3, 4, 6, 3)
    strides: Four = (2, 2, 2, 1)
    norm: Literal["instance", "batch"] = "instance"
    pooling: Literal["max", "lse", "lme", "mean", "attention"] = "max"
    attention: Width = 128
    compensate: bool = True

    def __post_init__(self) -> None:
        kernels(self.receptive_field, self.blocks, self.strides)


_PAPER = Recipe(
    optimizer="rmsprop",
    learning_rate=5e-5,
    optimizer_options={"alpha": 0.99, "momentum": 0.0, "eps": 1e-5},
    schedule="steps",
    decay=0.1,
    milestones=(0.4, 0.6, 0.8),
    epochs=200,
    monitor="val_accuracy",
    weighted=False,
    accumulate=32,
)

BAGNET = Entry(
    target="napari_zoommil.models.bagnet:ImageBagNet",
    config=BagNetOptions,
    takes="image",
    recipes={
        "default": replace(_PAPER, monitor="val_loss"),
        "paper": _PAPER,
        "cpu": replace(
            _PAPER,
            learning_rate=1e-3,
            milestones=(0.7, 0.9),
            epochs=10,
            options={"width": 0.125, "blocks": (1, 1, 1, 1), "norm": "batch"},
        ),
    },
    citation="Pawlowski et al. 2020, Needles in haystacks: on classifying tiny objects in large images, "
    "arXiv:1908.06037, after Brendel, Bethge 2019, BagNet, ICLR",
)
