"""What is trained on needle-MNIST, and how: trials and presets (Pawlowski et al. 2020, sec. 4 and sec. C)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from napari_zoommil.experiments.data.needle_mnist import BALANCES, IMAGES, TRAINING_SIZES, Canvas
from napari_zoommil.experiments.pieces import as_json

POOLINGS = ("max", "lse", "mean", "attention")
LOG_SUM_EXP = "lse"


@dataclass(frozen=True)
class Trial:
    """A network, and the images that it is trained on.

    Attributes
    ----------
    canvas : Canvas
    field : int
        Receptive field, px.
    pooling : str
    width : float
        Factor of the number of filters.
    norm : str
    train : int
        Training images.
    balance : float
        Share of positive training images; the rarer class is drawn more often.
    """

    canvas: Canvas
    field: int
    pooling: str = "max"
    width: float = 1.0
    norm: str = "instance"
    train: int = IMAGES["train"]
    balance: float = 0.5

    def name(self, base: Trial) -> str:
        """``64/33/max/base``: canvas, receptive field, pooling, and what differs from the preset's trial."""
        special = [
            *([f"n{self.train}"] if self.train != base.train else []),
            *([f"w{self.width:g}"] if self.width != base.width else []),
            *([self.norm] if self.norm != base.norm else []),
            *([f"b{self.balance:g}"] if self.balance != base.balance else []),
            *([self.canvas.noise] if self.canvas.noise != base.canvas.noise else []),
        ]
        return f"{self.canvas.edge}/{self.field}/{self.pooling}/{'-'.join(special) or 'base'}"


@dataclass(frozen=True)
class Extent:
    """A preset.

    Attributes
    ----------
    base : Trial
        The trial from which the others differ.
    trials : tuple of (Trial, tuple of int)
        With their seeds.
    blocks, strides : tuple of int
        Of the network's four stages.
    compensate : bool
        Whether smaller receptive fields have more filters.
    epochs : int
    learning_rate : float
        Of RMSProp.
    milestones : tuple of float
        Shares of the epochs after which the learning rate is divided by 10.
    val, test : int
        Images.
    batch : int
        Images per step.
    """

    base: Trial
    trials: tuple[tuple[Trial, tuple[int, ...]], ...]
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (2, 2, 2, 1)
    compensate: bool = True
    epochs: int = 200
    learning_rate: float = 5e-5
    milestones: tuple[float, ...] = (0.4, 0.6, 0.8)
    val: int = IMAGES["val"]
    test: int = IMAGES["test"]
    batch: int = 32

    def pieces(self) -> dict[str, tuple[Trial, int]]:
        """Trial and seed by name, ordered by seed, so that an interrupted run has complete first seeds."""
        seeds = sorted({seed for _, own in self.trials for seed in own})
        return {
            f"{trial.name(self.base)}/{seed}": (trial, seed)
            for seed in seeds
            for trial, own in self.trials
            if seed in own
        }

    def described(self, trial: Trial) -> dict[str, Any]:
        """Everything that determines a training except its seed, as JSON."""
        return asdict(trial) | as_json(self, without=("base", "trials"))


def _each(trials: Iterable[Trial], seeds: tuple[int, ...]) -> Iterator[tuple[Trial, tuple[int, ...]]]:
    return ((trial, seeds) for trial in dict.fromkeys(trials))


def _published() -> Extent:
    """Figures 4 to 9 and 12 to 15, six seeds each. Where a receptive field is larger than the canvas, or
    leaves a single place, there is no trial: the convolutions have no padding."""
    canvases = [Canvas.published(edge) for edge in (64, 128, 256, 512, 1024)]
    base, fields = Trial(canvases[0], 33), (9, 33, 177)
    middle = replace(base, canvas=canvases[2])
    small = 2_819
    trials = [
        *(Trial(canvas, field, pooling) for canvas, field, pooling in product(canvases, fields, POOLINGS)),
        *(
            replace(base, canvas=canvas, pooling=pooling, train=train)
            for canvas, pooling, train in product(canvases, POOLINGS, TRAINING_SIZES)
        ),
        *(replace(base, canvas=canvas, width=width) for canvas, width in product(canvases, (0.25, 0.5, 2.0))),
        *(
            replace(middle, field=field, width=width, train=train)
            for field, width, train in product(fields, (0.25, 0.5, 1.0, 2.0), (small, base.train))
        ),
        *(
            replace(middle, field=field, pooling=pooling, balance=balance)
            for field, pooling, balance in product(fields, POOLINGS, BALANCES)
        ),
        *(
            replace(base, canvas=replace(canvas, noise="gaussian"), pooling=pooling)
            for canvas, pooling in product(canvases, POOLINGS)
        ),
    ]
    fitting = [trial for trial in trials if trial.field < trial.canvas.edge]
    return Extent(base, tuple(_each(fitting, tuple(range(6)))))


def _for_cpu() -> Extent:
    """Digits of half the size, and fields of half the size: 5, 9 and 17 instead of 9, 33 and 177."""
    large, small = Canvas(32, 2, 14), Canvas(64, 5, 14)
    base = Trial(large, 17, width=0.125, norm="batch")
    on_small = replace(base, canvas=small)
    noisy = replace(large, noise="gaussian")
    once = [
        *(replace(base, field=field) for field in (5, 9)),
        *(replace(base, pooling=pooling) for pooling in POOLINGS[1:]),
        *(replace(base, train=train) for train in TRAINING_SIZES if train != base.train),
        replace(base, width=0.0625),
        replace(base, width=0.25),
        replace(base, norm="instance"),
        replace(base, norm="instance", pooling="mean"),
        *(replace(base, balance=balance) for balance in (0.1, 0.9)),
        *(replace(base, balance=balance, pooling="mean") for balance in (0.1, 0.9)),
        replace(base, canvas=noisy),
        replace(base, canvas=noisy, pooling="mean"),
        on_small,
        *(replace(on_small, pooling=pooling) for pooling in POOLINGS[1:]),
        replace(on_small, field=5),
        replace(on_small, train=5_638),
    ]
    return Extent(
        base,
        ((base, (0, 1, 2)), *_each(once, (0,))),
        blocks=(1, 1, 1, 1),
        strides=(2, 2, 1, 1),
        epochs=9,
        learning_rate=1e-3,
        milestones=(0.7, 0.9),
    )


EXTENTS = {"cpu": _for_cpu(), "paper": _published()}
