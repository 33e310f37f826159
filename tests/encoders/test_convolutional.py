from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from napari_zoommil.encoders.convolutional import ConvolutionalEncoder, EncoderSizes
from napari_zoommil.encoders.partners import Decoder, DecoderSizes, Discriminator, Head
from napari_zoommil.training.encoders.recipe import RECIPES, recipe_of


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def on_meta(make: type[nn.Module], *arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return make(*arguments)


def convolved(widths: tuple[int, ...]) -> int:
    """Weights, biases and batch normalisation of 3×3 convolutions."""
    return sum(9 * a * b + 3 * b for a, b in pairwise(widths))


def dense(before: int, after: int) -> int:
    """Weights, biases and batch normalisation of a dense layer."""
    return before * after + 3 * after


@pytest.mark.parametrize(
    ("method", "recipe", "expected"),
    [  # Tellez et al. 2019, appendix
        ("vae", "paper", convolved((3, 32, 64, 128, 256, 512)) + dense(4 * 4 * 512, 512) + 512 * 128 + 128),
        ("bigan", "paper", convolved((3, 128, 128, 128, 128)) + 4 * 4 * 128 * 128 + 128),
        ("vae", "synthetic", convolved((1, 32, 64)) + dense(3 * 3 * 64, 64) + 64 * 16 + 16),
        ("bigan", "synthetic", convolved((1, 32, 32)) + 3 * 3 * 32 * 16 + 16),
    ],
)
def test_encoders_have_the_layers_of_the_appendix(method: str, recipe: str, expected: int) -> None:
    network = on_meta(ConvolutionalEncoder, recipe_of(method, recipe).sizes)
    assert parameters(network) == expected


def test_numbers_of_parameters_are_those_of_the_docstrings() -> None:
    for method, recipe in (
        ("vae", "paper"),
        ("bigan", "paper"),
        ("vae", "synthetic"),
        ("bigan", "synthetic"),
    ):
        count = parameters(on_meta(ConvolutionalEncoder, recipe_of(method, recipe).sizes))
        assert f"{count:,}" in (ConvolutionalEncoder.__doc__ or "")
    for method in ("vae", "bigan"):
        own = recipe_of(method, "paper")
        assert f"{parameters(on_meta(Decoder, own.sizes, own.decoder)):,}" in (Decoder.__doc__ or "")


@pytest.mark.parametrize(
    ("method", "recipe", "start", "widths"),
    [
        ("vae", "paper", 8192, (256, 128, 64, 32, 16)),
        ("bigan", "paper", 1024, (128, 128, 128, 128)),
        ("vae", "synthetic", 2048, (64, 32)),
        ("bigan", "synthetic", 512, (32, 32)),
    ],
)
def test_decoders_have_the_layers_of_the_appendix(
    method: str, recipe: str, start: int, widths: tuple[int, ...]
) -> None:
    own = recipe_of(method, recipe)
    network = on_meta(Decoder, own.sizes, own.decoder)
    rest = 9 * widths[-1] * own.sizes.channels + own.sizes.channels
    expected = dense(own.sizes.code, start) + convolved((start // 16, *widths)) + rest
    assert parameters(network) == expected


def test_the_discriminator_has_an_encoder_of_its_own_and_two_dense_layers() -> None:
    own = recipe_of("bigan", "paper")
    network = on_meta(Discriminator, own.sizes, own.head)
    encoder = parameters(on_meta(ConvolutionalEncoder, own.sizes))
    assert parameters(network) == encoder + 256 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 + 1


def test_the_head_is_an_mlp_of_256_units() -> None:
    assert parameters(on_meta(Head, 128, 9)) == dense(128, 256) + 256 * 9 + 9


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("method", ["vae", "bigan"])
def test_what_is_encoded_is_decoded_to_the_same_size(method: str, recipe: str) -> None:
    own = recipe_of(method, recipe)
    sizes = own.sizes
    encoder, decoder = on_meta(ConvolutionalEncoder, sizes), on_meta(Decoder, sizes, own.decoder)
    images = torch.zeros(2, sizes.channels, sizes.edge, sizes.edge, device="meta")
    codes = encoder(images)
    assert codes.shape == (2, sizes.code)
    assert decoder(codes).shape == images.shape


def test_decoded_images_are_in_the_range_of_the_input() -> None:
    sizes = EncoderSizes(9, 1, (4, 4), 8, 3)
    made = Decoder(sizes, DecoderSizes(8))(10 * torch.randn(5, 3))
    assert made.shape == (5, 1, 9, 9)
    assert made.abs().max() <= 1


def test_an_encoder_of_grey_images_averages_colours() -> None:
    network = ConvolutionalEncoder(EncoderSizes(8, 1, (4,), 0, 3)).eval()
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(network(images), network(images.mean(1, keepdim=True)))
