from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_zoommil.bags.encoding import encode_batches
from napari_zoommil.encoders import Encoder
from napari_zoommil.encoders.encoder import LARGEST_BATCH_CPU, Preprocessing

DIM = 5


class Means(nn.Module):
    """Features that tell the patches apart; notes the threads it ran on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(DIM))
        self.seen: set[str] = set()
        self.torch_threads: set[int] = set()
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.add(threading.current_thread().name)
        self.torch_threads.add(torch.get_num_threads())
        self.sizes.append(len(images))
        time.sleep(0.001 * int(torch.randint(4, ())))
        return images.mean((1, 2, 3))[:, None] * self.weight


@pytest.fixture
def network() -> Means:
    return Means()


@pytest.fixture
def encoder(network: Means) -> Encoder:
    return Encoder("means", network, Preprocessing(), DIM, half=False)


def batches(sizes: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start = 0
    for size in sizes:
        rows = np.arange(start, start + size)
        yield rows, np.broadcast_to(rows[:, None, None, None].astype(np.uint8), (size, 4, 4, 3)).copy()
        start += size


@pytest.mark.parametrize("sizes", [[], [1], [64, 64, 3], [9, 1, 30, 8, 17]])
def test_features_are_those_of_the_encoder_in_the_order_of_the_batches(
    encoder: Encoder, sizes: list[int]
) -> None:
    found = list(encode_batches(batches(sizes), encoder))
    assert [len(rows) for rows, _ in found] == sizes
    for (rows, features), (expected, patches) in zip(found, batches(sizes), strict=True):
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(features, encoder(patches).numpy(), rtol=1e-6)
        assert features.shape == (len(rows), DIM) and features.dtype == np.float32


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_thread_computes_alone_and_torch_gets_its_threads_back(
    encoder: Encoder, network: Means, two_threads: None
) -> None:
    list(encode_batches(batches([64, 64]), encoder))
    assert network.torch_threads == {1} and torch.get_num_threads() == 2
    assert {name.rsplit("_")[0] for name in network.seen} == {"patch-encoder"}
    assert max(network.sizes) == LARGEST_BATCH_CPU
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_no_more_is_asked_for_than_keeps_the_threads_busy(encoder: Encoder, two_threads: None) -> None:
    drawn = []

    def counted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches([64] * 10):
            drawn.append(len(batch[0]))
            yield batch

    encoded = encode_batches(counted(), encoder)
    next(encoded)
    assert len(drawn) == 2
    encoded.close()


def test_closing_ends_the_threads(encoder: Encoder) -> None:
    encoded = encode_batches(batches([64, 64]), encoder)
    next(encoded)
    encoded.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("patch-encoder")]


def test_what_goes_wrong_in_a_thread_is_raised(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(images: Tensor) -> Tensor:
        raise RuntimeError("broken layer")

    monkeypatch.setattr(encoder.network, "forward", fail)
    with pytest.raises(RuntimeError, match="broken layer"):
        list(encode_batches(batches([64]), encoder))
