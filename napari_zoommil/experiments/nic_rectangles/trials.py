"""What is trained, and how: trials and presets (Tellez et al. 2019, sec. 4.2, and the appendix)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

from napari_zoommil.experiments.data.rectangles import EDGE, IMAGES, Plan
from napari_zoommil.experiments.pieces import as_json

ORACLE = "supervised"
UNSUPERVISED = ("vae", "contrastive", "bigan")
CONTROLS = ("untrained", "mean")
"""An encoder with random weights, and the mean grey of a patch alone."""

CODES, STRIDES, SHARES = (4, 8, 16, 32, 64), (5, 9, 18), (0.1, 0.25, 0.5, 1.0)
"""Of Fig. 6; the shares of the training set are not in the text and were chosen here."""


@dataclass(frozen=True)
class Trial:
    """An encoder, and the compressed images that the CNN is trained on.

    Attributes
    ----------
    encoder : str
    code : int
        C, length of a code.
    stride : int
        S, distance of patches, px.
    share : float
        Of the training images.
    """

    encoder: str = ORACLE
    code: int = 16
    stride: int = EDGE
    share: float = 1.0

    @property
    def name(self) -> str:
        """``vae/16/9/100``: encoder, code, stride, percent of the training images."""
        return f"{self.encoder}/{self.code}/{self.stride}/{round(100 * self.share)}"


@dataclass(frozen=True)
class Network:
    """The CNN and its training.

    Attributes
    ----------
    width : int
    strides : tuple of int
    padding : str
        ``same`` also where the array is too small for ``valid``.
    dropout : float
    schedule : str
        ``plateau``: Adam, divided by 10 when the validation accuracy has not risen for ``patience`` epochs,
        to 1e-5, then the end. ``one-cycle``: AdamW, up and down once.
    learning_rate, decay : float
        The highest learning rate; weight decay (the paper's L2).
    batch, epochs, patience : int
        The paper gives neither the number of epochs nor the patience.
    """

    width: int = 128
    strides: tuple[int, ...] = (2, 2, 2, 2, 2, 2, 1, 1)
    padding: str = "valid"
    dropout: float = 0.2
    schedule: Literal["plateau", "one-cycle"] = "plateau"
    learning_rate: float = 1e-2
    decay: float = 1e-5
    batch: int = 16
    epochs: int = 200
    patience: int = 5


@dataclass(frozen=True)
class Extent:
    """A preset.

    Attributes
    ----------
    plan : Plan
    network : Network
    steps : dict of str to int
        Most steps of each encoder; the others are those of the appendix.
    patches : int
        Patches per image that encoders are trained on.
    images : dict of str to int
        Per split.
    trials : tuple of Trial
    seeds : tuple of int
    tuned : int
        Validation images on which the denoising of maps is tuned.
    explained : int
        Test images that are explained.
    """

    plan: Plan
    network: Network
    steps: dict[str, int]
    patches: int
    images: dict[str, int]
    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    tuned: int = 80
    explained: int = 1_000

    def pieces(self) -> dict[str, tuple[Trial, int]]:
        """Trial and seed by name, ordered by seed."""
        return {f"{one.name}/{seed}": (one, seed) for seed, one in product(self.seeds, self.trials)}

    def described(self, trial: Trial) -> dict[str, Any]:
        """Everything that determines a piece except its seed, as JSON."""
        own = as_json(self, without=("trials", "seeds", "steps"))
        return own | asdict(trial) | {"steps": self.steps.get(trial.encoder)}


def _trials(codes_of: tuple[str, ...], shares: tuple[float, ...] = SHARES) -> Iterator[Trial]:
    """Those of Fig. 6: all encoders, then one parameter varied at a time."""
    yield from (Trial(encoder) for encoder in (ORACLE, *UNSUPERVISED))
    yield from (Trial(encoder, 16 if encoder == "untrained" else 1) for encoder in CONTROLS)
    yield from (Trial(encoder, code) for encoder, code in product(codes_of, CODES) if code != 16)
    yield from (Trial(stride=stride) for stride in STRIDES if stride != EDGE)
    yield from (Trial(share=share) for share in shares if share != 1)


EXTENTS = {
    "cpu": Extent(
        plan=Plan(450, longest=0.65 * 450, shortest=0.3 * 450, aspect=0.22, aligned=True),
        network=Network(
            width=64,
            strides=(2, 2, 2, 2, 1, 1, 1, 1),
            padding="same",
            dropout=0.0,
            schedule="one-cycle",
            learning_rate=5e-3,
            decay=1e-4,
            batch=32,
            epochs=16,
        ),
        steps={"supervised": 1_500, "vae": 1_500, "contrastive": 1_000, "bigan": 5_000},
        patches=600,
        images={"encoder": 60, "train": 8_000, "val": 500, "test": 1_000},
        trials=tuple(_trials((ORACLE,), (0.25, 0.5))),
        seeds=(0,),
    ),
    "paper": Extent(
        plan=Plan(),
        network=Network(),
        steps={},
        patches=400,
        images=IMAGES,
        trials=tuple(_trials((ORACLE, *UNSUPERVISED))),
        seeds=(0, 1),
    ),
}
"""``cpu``: images of 450 px whose digits fill the cells of the grid, and rectangles of at least 30 % of the
edge. ``paper``: the published sizes; of its number of seeds it says for Tables 1 to 3 that it is two."""
