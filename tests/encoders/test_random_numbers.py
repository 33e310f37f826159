"""The host's random numbers, on the CPU and on GPUs that a fake stands for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from napari_zoommil.encoders import load_encoder
from napari_zoommil.encoders.random_numbers import own_random_numbers, seed_torch


class Cuda:
    """What torch's CUDA is asked for random numbers: a generator for each of two devices."""

    def __init__(self, initialised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.initialised = initialised
        self.generators = [torch.Generator().manual_seed(40 + device) for device in range(2)]
        self.asked: list[str] = []
        for name in ("get_rng_state", "set_rng_state", "manual_seed_all", "manual_seed", "_lazy_init"):
            monkeypatch.setattr(torch.cuda, name, self._recorded(name))
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: self.initialised)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(self.generators))

    def _recorded(self, name: str):  # type: ignore[no-untyped-def]
        def call(*arguments):  # type: ignore[no-untyped-def]
            self.asked.append(name)
            return getattr(self, f"do_{name}")(*arguments)

        return call

    def do_get_rng_state(self, device: int) -> torch.Tensor:
        return self.generators[device].get_state()

    def do_set_rng_state(self, state: torch.Tensor, device: int) -> None:
        self.generators[device].set_state(state)

    def do_manual_seed_all(self, seed: int) -> None:
        for generator in self.generators:
            generator.manual_seed(seed)

    def do_manual_seed(self, seed: int) -> None:
        self.generators[0].manual_seed(seed)

    def do__lazy_init(self) -> None:
        self.initialised = True

    def draw(self) -> list[float]:
        return [float(torch.rand((), generator=one)) for one in self.generators]


@pytest.fixture(params=[True, False], ids=["initialised", "not initialised"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    torch.manual_seed(7)
    yield Cuda(request.param, monkeypatch)


def states(cuda: Cuda) -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(one.get_state() for one in cuda.generators)]


def test_the_host_keeps_its_own(cuda: Cuda) -> None:
    before = states(cuda)
    with own_random_numbers(3):
        torch.rand(3)
        seed_torch(5)
        if cuda.initialised:
            cuda.draw()
    assert all(torch.equal(one, was) for one, was in zip(states(cuda), before, strict=True))
    if not cuda.initialised:
        assert not cuda.asked, "nothing is left for CUDA to begin with"


def test_the_numbers_within_follow_from_the_seed_on_every_device_in_use(cuda: Cuda) -> None:
    drawn = []
    for seed in (3, 3, 4):
        with own_random_numbers(seed):
            drawn.append((float(torch.rand(())), *(cuda.draw() if cuda.initialised else ())))
    assert drawn[0] == drawn[1] and not set(drawn[0]) & set(drawn[2])


def test_without_a_seed_they_go_on_from_the_hosts(cuda: Cuda) -> None:
    with own_random_numbers():
        within = float(torch.rand(()))
    assert within == float(torch.rand(()))


def test_they_are_given_back_after_an_error_too(cuda: Cuda) -> None:
    before = states(cuda)
    with pytest.raises(RuntimeError), own_random_numbers(1):
        torch.rand(3)
        raise RuntimeError
    assert all(torch.equal(one, was) for one, was in zip(states(cuda), before, strict=True))


def test_building_an_encoder_asks_cuda_for_nothing_that_it_does_not_give_back(cuda: Cuda) -> None:
    before = states(cuda)
    load_encoder("resnet50-random")
    assert all(torch.equal(one, was) for one, was in zip(states(cuda), before, strict=True))
    assert cuda.initialised or not cuda.asked


@pytest.mark.gpu
def test_a_real_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    torch.cuda.manual_seed_all(11)
    torch.zeros(1, device="cuda")
    before = torch.cuda.get_rng_state_all()
    with own_random_numbers(3):
        first = torch.rand(3, device="cuda")
    with own_random_numbers(3):
        assert torch.equal(torch.rand(3, device="cuda"), first)
    assert all(torch.equal(one, was) for one, was in zip(torch.cuda.get_rng_state_all(), before, strict=True))
