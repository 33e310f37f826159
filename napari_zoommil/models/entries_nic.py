"""Options and recipes of neural image compression. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from napari_zoommil.models.entries import Dropout, Width
from napari_zoommil.models.registry import Entry, Recipe

Views = Annotated[int, Interval(ge=1, le=8)]
Stride = Annotated[int, Interval(ge=1, le=8)]


@dataclass(frozen=True)
class NICOptions:
    """Options of NIC.

    Parameters
    ----------
    region : int
        Edge of a crop of the compressed slide, in patches: the paper's R.
    padding : {"valid", "same"}
        Valid as in the paper, for crops of 383 patches or more with its strides; or same, with an average of
        the last layer before the dense layer, for smaller slides.
    width : int
        Channels of each convolution, and units of the dense layer.
    strides : tuple of int
        Of the convolutions, one each.
    dropout : float
        Share of the channels that each convolution loses in training.
    crops : int
        Crops of each slide in a training step, each an example of its own.
    sampling : {"distance", "uniform"}
        Where the middle of a training crop lies: at a patch with a probability proportional to the square of
        its distance to the background, or at any patch.
    views : int
        Rotations and flips of the slide, up to 8, that crops are drawn from in training. Patches are turned
        before they are encoded: each view of a slide is encoded. With 1, the places of the patches are
        turned, but patches are encoded as they are.
    test_views : int, optional
        Views over which a prediction is averaged, each encoded; up to ``views``, and as many by default.
    test_crops : int
        Crops of each view over which a prediction is averaged, where a slide is larger than a crop.

    Raises
    ------
    ValueError
        If predictions are of views that training has not seen.
    """

    region: Annotated[int, Interval(ge=1, le=4096)] = 400
    padding: Literal["valid", "same"] = "valid"
    width: Width = 128
    strides: Annotated[tuple[Stride, ...], MinLen(1)] = (2, 2, 2, 2, 2, 2, 1, 1)
    dropout: Dropout = 0.2
    crops: Annotated[int, Interval(ge=1, le=256)] = 1
    sampling: Literal["distance", "uniform"] = "distance"
    views: Views = 8
    test_views: Views | None = None
    test_crops: Annotated[int, Interval(ge=1, le=1000)] = 10

    def __post_init__(self) -> None:
        if self.tested > self.views:
            raise ValueError(
                f"predictions over {self.tested} views need a training on as many, and this one is on "
                f"{self.views}; choose test_views up to views"
            )

    @property
    def tested(self) -> int:
        """Views over which a prediction is averaged."""
        return self.test_views or self.views

    @property
    def variants(self) -> int:
        """Views of a slide that have to be encoded for a training."""
        return self.views


_PAPER = Recipe(
    learning_rate=1e-2,
    # The paper's L2 term 1e-5 w² has the gradient 2e-5 w, which is what the optimiser adds.
    weight_decay=2e-5,
    decay=0.1,
    patience=5,
    least_rate=1e-5,
    epochs=200,
    # Three steps from 1e-2 to 1e-5, and one more plateau.
    stop_after=24,
    batch=16,
    # Four folds of which two train, one validates and one tests.
    shares=(0.5, 0.25, 0.25),
    fold_parts=3,
    magnifications=(20.0,),
)

SMALL = {
    "region": 64, "padding": "same", "width": 64, "strides": (2, 2, 1, 1), "dropout": 0.1, "views": 1,
}  # fmt: skip
"""For slides of some ten patches in each direction, and a CPU."""

NIC = Entry(
    target="napari_zoommil.models.nic:NIC",
    config=NICOptions,
    scales="one",
    recipes={
        "default": _PAPER,
        "small": replace(_PAPER, learning_rate=3e-3, batch=8, options=SMALL),
        # Tellez et al. 2021, sec. 4.5 and 4.6: patches of 128 px, 0.5 µm/px, and four folds.
        "camelyon16": replace(_PAPER, min_tissue=0.6),
        "tupac16": replace(_PAPER, min_tissue=0.6),
    },
    citation="Tellez, Litjens, van der Laak, Ciompi 2021, Neural image compression for gigapixel "
    "histopathology image analysis, IEEE Transactions on Pattern Analysis and Machine Intelligence 43(2)",
)
