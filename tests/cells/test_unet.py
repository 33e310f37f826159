from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_zoommil.cells.metrics import dice
from napari_zoommil.cells.outputs import pad_to_multiple
from napari_zoommil.cells.unet import STEP, UNet
from napari_zoommil.errors import ModelError


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def published() -> UNet:
    with torch.device("meta"):
        return UNet()


@pytest.fixture
def small() -> UNet:
    torch.manual_seed(0)
    return UNet(width=4).double().eval()


def test_the_published_network_has_23_convolutions_and_31_million_parameters(published: UNet) -> None:
    convolutions = [m for m in published.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # sec. 2
    assert parameters(published) == 31_031_745
    with torch.device("meta"):
        grey, two = UNet(in_channels=1), UNet(classes=2, in_channels=1)
    assert parameters(grey) == 31_030_593 == parameters(published) - 2 * 9 * 64
    assert parameters(two) == parameters(grey) + 2 * (64 + 1)


def test_the_sizes_are_those_of_the_figure(published: UNet) -> None:
    seen = {}
    for index, block in enumerate([*published.down, *published.merge]):
        block.register_forward_hook(
            lambda m, x, y, i=index: seen.update({i: (x[0].shape[1:3], y.shape[1:3])})
        )
    output = published(torch.empty(1, 3, 572, 572, device="meta"))
    assert output.shape == (1, 1, 388, 388)
    assert [(*before, *after) for before, after in seen.values()] == [
        (3, 572, 64, 568),
        (64, 284, 128, 280),
        (128, 140, 256, 136),
        (256, 68, 512, 64),
        (512, 32, 1024, 28),
        (1024, 56, 512, 52),
        (512, 104, 256, 100),
        (256, 200, 128, 196),
        (128, 392, 64, 388),
    ]


@given(st.integers(1, 3000))
def test_the_next_size_that_fits_covers_what_is_asked_for_and_no_more(size: int) -> None:
    model = UNet(width=1)
    edge = model.input_size(size)
    assert edge % 2 == 0 and size <= model.output_size(edge) == edge - 2 * model.margin
    if edge > 188:
        assert model.output_size(edge - STEP) < size


@pytest.mark.parametrize("size", [100, 187, 189, 512, 573, 580])
def test_a_size_that_does_not_fit_is_refused_with_one_that_does(small: UNet, size: int) -> None:
    with pytest.raises(ModelError, match=rf"not {size}; the next that fits is \d+") as caught:
        small(torch.zeros(1, 3, 188, size, dtype=torch.double))
    assert small.output_size(int(str(caught.value).split()[-1])) > 0


@pytest.mark.parametrize("size", [188, 204, 572])
def test_the_sizes_that_fit_are_taken(small: UNet, size: int) -> None:
    assert small.output_size(size) == size - 184
    if size < 500:
        assert small(torch.zeros(1, 3, size, 188, dtype=torch.double)).shape == (1, 1, size - 184, 4)


def test_unpadded_tiles_a_multiple_of_16_px_apart_predict_what_the_whole_image_does(small: UNet) -> None:
    images = torch.rand(2, 3, 252, 236, dtype=torch.double)
    with torch.no_grad():
        whole = small(images)
        for y, x in ((0, 0), (16, 32), (48, 16)):
            tile = small(images[..., y : y + 204, x : x + 204])
            torch.testing.assert_close(tile, whole[..., y : y + 20, x : x + 20])
        between = small(images[..., 8:212, 8:212])
    assert not torch.allclose(between, whole[..., 8:28, 8:28])


def test_padded_tiles_agree_inside_their_margin() -> None:
    torch.manual_seed(0)
    model = UNet(width=3, padding="same").double().eval()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.01, 0.1)  # every unit is alive: the whole reach counts
    margin, image = model.margin, torch.rand(1, 3, 320, 320, dtype=torch.double)
    with torch.no_grad():
        whole, tile = model(image), model(image[..., 32:304, 16:288])
    inner = slice(margin, 272 - margin)
    torch.testing.assert_close(
        tile[..., inner, inner], whole[..., 32:304, 16:288][..., inner, inner], rtol=1e-12, atol=0
    )
    assert not torch.allclose(tile[..., inner, 60], whole[..., 32:304, 16:288][..., inner, 60], rtol=1e-12)


def test_no_pixel_beyond_the_margin_is_felt() -> None:
    model = UNet(width=1, padding="same").double().eval()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    reach = []
    for place in range(112, 112 + STEP):
        image = torch.rand(1, 3, 240, 240, dtype=torch.double, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(image)[0, 0, place, place], image)
        felt = gradient[0].abs().sum((0, 1)).nonzero()[:, 0]
        reach += [place - int(felt.min()), int(felt.max()) - place]
    assert 92 < max(reach) <= model.margin


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (37, 50), (64, 15)])
def test_with_padding_any_size_is_taken(shape: tuple[int, int]) -> None:
    model = UNet(classes=3, width=2, padding="same").eval()
    assert model(torch.rand(2, 3, *shape)).shape == (2, 4, *shape)
    assert (model.output_size(shape[0]), model.input_size(shape[1])) == shape


def test_images_are_continued_by_their_last_row_and_column() -> None:
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_to_multiple(padded, 4) is padded


def test_weights_start_with_the_variance_that_keeps_a_signal_alive() -> None:
    torch.manual_seed(0)
    model = UNet(width=16, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 5000:
            summed = module.in_channels * (9 if isinstance(module, nn.Conv2d) else 1)
            assert module.weight.std().item() == pytest.approx((2 / summed) ** 0.5, rel=0.05)
            assert not module.bias.any()
    deviations: list[float] = []
    for block in model.down:
        block.register_forward_hook(lambda m, x, y: deviations.append(y.std().item()))
    model(torch.rand(1, 3, 188, 188))
    assert all(0.3 < deviation < 3 for deviation in deviations)


def test_dropout_acts_on_the_last_two_levels_down_and_only_in_training() -> None:
    model = UNet(width=2)
    seen: list[int] = []
    model.dropout.register_forward_hook(lambda m, x, y: seen.append(y.shape[1]))
    images = torch.rand(1, 3, 188, 188)
    assert model.dropout.p == 0.5 and not torch.equal(model(images), model(images))
    assert seen[:2] == [16, 32]
    assert torch.equal(model.eval()(images), model(images))


def test_an_image_is_predicted_alike_alone_and_in_a_batch(small: UNet) -> None:
    images = torch.rand(3, 3, 188, 188, dtype=torch.double)
    with torch.no_grad():
        together = small(images)
        torch.testing.assert_close(together[1:2], small(images[1:2]))


@pytest.mark.parametrize(
    "options",
    [{"norm": "batch"}, {"classes": 3, "padding": "same", "dropout": 0.1}],
)
def test_its_configuration_makes_it_again(options: dict) -> None:
    model = UNet(width=2, **options).eval()
    again = UNet(**model.config).eval()
    again.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 188, 188)
    torch.testing.assert_close(again(images), model(images))
    assert model(images).shape[1] == (4 if "classes" in options else 1)


def test_batches_are_normalised_after_each_convolution() -> None:
    plain, normalised = UNet(width=2), UNet(width=2, norm="batch")
    sizes = [one.num_features for one in normalised.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(sizes) == 18 and parameters(normalised) == parameters(plain) + 2 * sum(sizes)


def test_it_learns_to_tell_bright_discs() -> None:
    torch.manual_seed(0)
    model = UNet(width=8, padding="same", dropout=0.0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")

    def batch(size: int) -> tuple[Tensor, Tensor]:
        cy, cx = 8 + 32 * torch.rand(2, size, 1, 1)
        target = ((y - cy) ** 2 + (x - cx) ** 2 < 100).float()[:, None]
        return (0.3 + 0.4 * target + 0.05 * torch.randn_like(target)).expand(-1, 3, -1, -1), target

    for _ in range(40):
        images, target = batch(4)
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(images), target).backward()
        optimiser.step()
    images, target = batch(16)
    assert dice(target.numpy(), (model(images) > 0).numpy()) > 0.9
