"""Settings of a training of an encoder: the paper's, and smaller ones (Tellez et al. 2019, appendix)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

from annotated_types import Interval

from napari_zoommil.encoders.convolutional import EncoderSizes
from napari_zoommil.encoders.partners import DecoderSizes
from napari_zoommil.errors import ModelError

Method = Literal["vae", "contrastive", "bigan", "supervised"]
"""How an encoder is trained; ``supervised`` is supervised-tumour with two classes, supervised-tissue with
more, and on MNIST digits the oracle of the synthetic set."""

METHODS: tuple[Method, ...] = get_args(Method)

RecipeName = Literal["paper", "cpu", "synthetic"]

RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)


@dataclass(frozen=True)
class Augmentation:
    """How much patches are changed at random; 0 leaves out.

    Attributes
    ----------
    rotation : bool
        Rotation by any angle, and mirroring.
    zoom : (float, float)
        Range of the magnification.
    elastic : float
        Standard deviation of the displacement of an elastic deformation, share of the edge.
    stain : float
        Standard deviation of the factor of each stain (haematoxylin, eosin, residual); that of its offset is
        a fifth, as optical density.
    brightness, contrast : float
        Largest relative change.
    noise : float
        Largest standard deviation of Gaussian noise; 1 is the range of grey levels.
    """

    rotation: bool = True
    zoom: tuple[float, float] = (0.75, 1.25)
    elastic: float = 0.02
    stain: float = 0.1
    brightness: float = 0.25
    contrast: float = 0.25
    noise: float = 0.05


HEAVY = Augmentation()
"""The kinds of sec. 2.2; the paper gives no strengths, and those it refers to are of whole 8-bit images."""

GEOMETRIC = Augmentation(False, (0.75, 1.25), 0.02, 0, 0, 0, 0)
"""Of the synthetic set: scaling and elastic deformation (sec. 4.1.5)."""

NO_AUGMENTATION = Augmentation(False, (1, 1), 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class EncoderRecipe:
    """Settings of a training.

    An *epoch* here is ``steps_per_epoch`` steps: after each, the validation patches are evaluated and a
    checkpoint is written. The paper's "200,000 epochs" of BiGAN can only be steps: of its 100,000 patches,
    that many epochs would be 312 million steps of 64. Here it has 200,000 steps.

    Attributes
    ----------
    sizes : EncoderSizes
        Of the encoder. Patches of another edge are averaged to its input.
    decoder : DecoderSizes
        Of the VAE's decoder and of BiGAN's generator.
    head : int
        Units of the dense layers of what else is trained with it: MLP, or BiGAN's discriminator.
    batch : int
        Patches, or pairs of them, per step.
    learning_rate : float
        Of Adam.
    betas : (float, float)
        Of Adam; BiGAN's authors (Donahue et al. 2017) use 0.5 and 0.999.
    decay, patience, least_rate : float, int, float
        Where the validation has not become better for ``patience`` epochs, the learning rate is multiplied by
        ``decay`` down to ``least_rate``; the next time, the training ends. The paper does not give its
        patience.
    plateau : bool
        Whether this is done, and the weights of the best epoch kept; else the learning rate is constant and
        the last weights are kept (BiGAN).
    steps : int
        Most steps. Epochs are shortened so that they are not exceeded.
    steps_per_epoch : int, optional
        By default as many as a pass over the training patches takes.
    most_validated : int
        Most validation patches (or pairs) that are evaluated in an epoch.
    kl : float
        γ, weight of the Kullback-Leibler divergence (eq. 9).
    augmentation : Augmentation
    patches : (int, int)
        Patches to draw from slides to train and to validate on.
    patch_size : int
        P, edge of the patches to draw, px.
    """

    sizes: EncoderSizes = field(default_factory=EncoderSizes)
    decoder: DecoderSizes = field(default_factory=DecoderSizes)
    head: Annotated[int, Interval(ge=1, le=8192)] = 256
    batch: Annotated[int, Interval(ge=2, le=4096)] = 64
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    decay: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Interval(ge=1, le=1000)] = 3
    least_rate: Annotated[float, Interval(ge=0, le=1)] = 1e-5
    plateau: bool = True
    steps: Annotated[int, Interval(ge=1, le=10_000_000)] = 200_000
    steps_per_epoch: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    most_validated: Annotated[int, Interval(ge=1, le=10_000_000)] = 50_000
    kl: Annotated[float, Interval(ge=0, le=1)] = 5e-5
    augmentation: Augmentation = HEAVY
    patches: tuple[int, int] = (100_000, 50_000)
    patch_size: Annotated[int, Interval(ge=4, le=4096)] = 128

    def resized(self, edge: int | None = None, code: int | None = None) -> EncoderRecipe:
        """With another input or code; the number of convolutions stays."""
        sizes = replace(self.sizes, edge=edge or self.sizes.edge, code=code or self.sizes.code)
        return replace(self, sizes=sizes)


BIGAN_SIZES = EncoderSizes(64, 3, (128, 128, 128, 128), 0, 128)
"""Of patches of 128 px, which the paper averages to 64 for BiGAN."""

HALF = EncoderSizes(32, 3, (16, 32, 64, 128), 256, 128)

_PAPER = {
    "vae": EncoderRecipe(),
    "contrastive": EncoderRecipe(learning_rate=1e-2),
    "supervised": EncoderRecipe(learning_rate=1e-2, patches=(50_000, 10_000)),
    "bigan": EncoderRecipe(
        BIGAN_SIZES, DecoderSizes(64, 128), 1024, learning_rate=2e-4, betas=(0.5, 0.999), plateau=False
    ),
}

_CPU = EncoderRecipe(
    HALF,
    DecoderSizes(128),  # as many channels as the encoder ends with, as in the paper
    128,
    steps=1_500,
    steps_per_epoch=100,
    most_validated=1_000,
    patches=(6_000, 1_000),
    patch_size=64,
)

_SYNTHETIC = EncoderRecipe(
    EncoderSizes(9, 1, (32, 64), 64, 16),
    DecoderSizes(128),
    augmentation=GEOMETRIC,
    steps_per_epoch=500,
    most_validated=10_000,
    patch_size=9,
)

KNOWN: dict[str, dict[str, EncoderRecipe]] = {
    "paper": _PAPER,
    "cpu": {
        "vae": _CPU,
        "contrastive": replace(_CPU, steps=2_000),
        "supervised": replace(_CPU, steps=600),
        "bigan": replace(
            _CPU,
            sizes=EncoderSizes(32, 3, (16, 16, 16), 0, 128),
            decoder=DecoderSizes(64, 16),
            learning_rate=2e-4,
            betas=(0.5, 0.999),
            plateau=False,
            steps=5_000,
        ),
    },
    "synthetic": {
        "vae": _SYNTHETIC,
        "contrastive": replace(_SYNTHETIC, learning_rate=1e-2),
        "supervised": replace(_SYNTHETIC, learning_rate=1e-2),
        "bigan": replace(
            _SYNTHETIC,
            sizes=EncoderSizes(9, 1, (32, 32), 0, 16),
            decoder=DecoderSizes(32, 32),
            head=128,
            learning_rate=2e-4,
            betas=(0.5, 0.999),
            plateau=False,
        ),
    },
}
"""``paper``: the appendix, for 128-px patches. ``cpu``: input of 32 px and half the filters, minutes on two
cores. ``synthetic``: the appendix, for grey patches of 9 px."""


def recipe_of(method: str, name: str = "cpu") -> EncoderRecipe:
    """The settings of a method, by the name of the recipe.

    Raises
    ------
    ModelError
        If there is no such method or recipe.
    """
    if method not in METHODS:
        raise ModelError(f"there is no method {method!r} to train an encoder; choose {', '.join(METHODS)}")
    if name not in KNOWN:
        raise ModelError(f"there is no recipe {name!r} for encoders; choose {', '.join(KNOWN)}")
    return KNOWN[name][method]
