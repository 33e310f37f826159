"""Encoders of digits, and images compressed by them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder
from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.data.mnist import Digits
from napari_zoommil.experiments.data.rectangles import EDGE, RectangleImage, RectangleImages, grid
from napari_zoommil.experiments.encoder_fit import fitted
from napari_zoommil.training.encoders.fitting import codes_of
from napari_zoommil.training.encoders.patches import PatchSet, Source, beside, divided, patch_set
from napari_zoommil.training.encoders.probe import linear_probe
from napari_zoommil.training.encoders.recipe import EncoderRecipe, Method, recipe_of

Codes = NDArray[np.float32]
Patches = NDArray[np.uint8]
Encode = Callable[[Patches], Codes]

WHITE = 2
"""Patches with a digit, or a part of one, for each empty patch (sec. 4.1.5)."""

PROBED = 4_000
"""Digits that the linear probe is fitted to, and tested on."""

KEPT_BYTES = 2**31
"""Most memory for the codes of a data set; those of larger ones are computed again in every epoch."""


@dataclass(frozen=True, eq=False)
class DigitEncoder:
    """An encoder of patches of 9 px.

    Attributes
    ----------
    encode : callable
        (n, 9, 9) uint8 → (n, C). Codes are relative to that of an empty patch, and divided by the standard
        deviation of all numbers in the codes of a sample: the CNN is normalised after its first layer anyway.
    code : int
        C.
    metrics : dict
        Of its training, and ``probe``, the accuracy of a linear classifier of digits on the codes.
    """

    encode: Encode
    code: int
    metrics: dict[str, Any]


def encoder_of(
    method: str, code: int, steps: int | None, images: RectangleImages, digits: dict[str, Digits],
    per_image: int, seed: int, device: Device,
) -> Generator[float, None, DigitEncoder]:  # fmt: skip
    """Train an encoder, or make a control; yields the share that is done.

    Parameters
    ----------
    method : str
        ``supervised``, ``vae``, ``contrastive``, ``bigan``, ``untrained`` or ``mean``.
    code : int
    steps : int, optional
        Most steps; those of the appendix by default.
    images : RectangleImages
        Those for encoders.
    digits : dict of str to Digits
        MNIST, of 9 px.
    per_image : int
        Patches per image.
    seed : int
    device : Device
    """
    patches = sampled(images, per_image, seed)
    metrics: dict[str, Any] = {}
    if method == "mean":
        raw: Encode = _mean_grey
    elif method == "untrained":
        with own_random_numbers(seed):
            network = ConvolutionalEncoder(recipe_of("supervised", "synthetic").resized(code=code).sizes)
        raw = _encode_by(network)
    else:
        source = _digits_source(digits) if method == "supervised" else divided(patches, seed)
        recipe = _recipe(method, code, steps)  # type: ignore[arg-type]
        done = yield from fitted(source, method, recipe, seed, device)  # type: ignore[arg-type]
        raw, metrics = _encode_by(done.network), dict(done.metrics)
    encode = _normalised(raw, patches.pixels[..., 0])
    return DigitEncoder(encode, code, metrics | {"probe": probe(encode, digits)})


def _recipe(method: Method, code: int, steps: int | None) -> EncoderRecipe:
    recipe = recipe_of(method, "synthetic").resized(code=code)
    if steps is None:
        return recipe
    return replace(recipe, steps=steps, steps_per_epoch=min(recipe.steps_per_epoch or steps, steps))


def _digits_source(digits: dict[str, Digits]) -> Source:
    """The oracle learns single digits with their classes."""
    return Source(*(patch_set(digits[part].images, labels=digits[part].labels) for part in ("train", "val")))


def _mean_grey(patches: Patches) -> Codes:
    return patches.mean((1, 2), dtype=np.float32)[:, None]


def _encode_by(network: ConvolutionalEncoder) -> Encode:
    network.eval()
    return lambda patches: codes_of(network, patches)


def _normalised(raw: Encode, sample: Patches) -> Encode:
    empty = raw(np.zeros((1, EDGE, EDGE), np.uint8))
    spread = max(float(raw(sample).std()), 1e-6)
    return lambda patches: (raw(patches) - empty) / spread


def sampled(images: RectangleImages, per_image: int, seed: int) -> PatchSet:
    """Patches of the grid with a stride of 9 px, two of three with a digit or a part of one."""
    rng = np.random.default_rng((seed, 23))
    pixels, of_image, places = [], [], []
    for number, image in enumerate(images):
        windows = patches_of(image, EDGE)
        white = windows.max((2, 3)) > 0
        chosen = [
            rng.permutation(np.argwhere(kind))[: round(per_image * part)]
            for kind, part in ((white, WHITE / (WHITE + 1)), (~white, 1 / (WHITE + 1)))
        ]
        at = np.concatenate(chosen)
        pixels.append(windows[at[:, 0], at[:, 1]])
        of_image.append(np.full(len(at), number))
        places.append(at)
    numbers, where = np.concatenate(of_image), np.concatenate(places)
    return patch_set(
        np.concatenate(pixels), images=numbers, groups=numbers, neighbours=beside(numbers, where, seed)
    )


def patches_of(image: RectangleImage, stride: int) -> Patches:
    """(rows, columns, 9, 9), a view."""
    windows = np.lib.stride_tricks.sliding_window_view(image.pixels, (EDGE, EDGE))
    return windows[::stride, ::stride]


def probe(encode: Encode, digits: dict[str, Digits]) -> float:
    """Accuracy of a linear classifier on the codes of centred digits."""
    (codes, labels), (test_codes, test_labels) = (
        (encode(digits[part].images[:PROBED]), digits[part].labels[:PROBED].astype(np.int64))
        for part in ("train", "test")
    )
    return linear_probe(codes, labels, test_codes, test_labels, np.zeros(len(test_labels), np.int64))[
        "accuracy"
    ].value


class CompressedImages:
    """Images as arrays of codes; empty patches are zero.

    Parameters
    ----------
    images : RectangleImages
    encoder : DigitEncoder
    stride : int
    """

    def __init__(self, images: RectangleImages, encoder: DigitEncoder, stride: int) -> None:
        self.images, self.encoder, self.stride = images, encoder, stride
        self.labels = torch.from_numpy(images.labels)
        self.edge = len(grid(images.plan.size, stride))
        self._kept: dict[int, tuple[NDArray[np.int32], NDArray[np.float16]]] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def fill(self) -> Iterator[float]:
        """Compress all images now, if their codes may be kept; yields the share that is done."""
        places, codes = self._coded(0)
        if (places.nbytes + codes.nbytes) * len(self) > KEPT_BYTES:
            return
        self._kept = {}
        for index in range(len(self)):
            self._kept[index] = self._coded(index)
            yield (index + 1) / len(self)

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """(B, C, rows, columns) float32."""
        arrays = np.zeros((len(indices), self.edge**2, self.encoder.code), np.float32)
        for array, index in zip(arrays, indices.tolist(), strict=True):
            places, codes = self._coded(index) if self._kept is None else self._kept[index]
            array[places] = codes
        return torch.from_numpy(arrays).transpose(1, 2).unflatten(2, (self.edge, self.edge))

    def _coded(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
        """Numbers of the patches that are not empty, and their codes."""
        windows = patches_of(self.images[index], self.stride)
        places = np.flatnonzero(windows.max((2, 3)))
        rows, columns = np.divmod(places, self.edge)
        return places.astype(np.int32), self.encoder.encode(windows[rows, columns]).astype(np.float16)
