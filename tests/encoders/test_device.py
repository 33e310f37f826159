from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from napari_zoommil.encoders import device as module
from napari_zoommil.encoders.device import autocast, choose_device, cpu_threads
from napari_zoommil.errors import JobError


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    chosen = choose_device()
    assert chosen.torch.type == "cpu" and not chosen.is_gpu
    assert "CPU cores" in chosen.reason
    chosen.release()


def test_auto_prefers_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    chosen = choose_device()
    assert (chosen.torch.type, chosen.reason, chosen.is_gpu) == ("cuda", "A GPU", True)


def test_a_named_device() -> None:
    assert choose_device("cpu").torch == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "abacus", "xpu", "hpu"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(JobError, match=name) as caught:
        choose_device(name)
    assert "choose 'auto' or 'cpu'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_precision_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(module, "_cpu_has_bfloat16", lambda: False)
    assert isinstance(autocast(cpu), nullcontext)
    monkeypatch.setattr(module, "_cpu_has_bfloat16", lambda: True)
    with autocast(cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_threads_are_the_hosts_again_when_the_last_job_has_ended() -> None:
    host = torch.get_num_threads()
    first, second = cpu_threads(host + 1), cpu_threads()
    first.__enter__()
    assert torch.get_num_threads() == host + 1
    second.__enter__()
    assert torch.get_num_threads() == host
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == host
    torch.set_num_threads(host + 2)  # the host thinks better of it
    with cpu_threads(1):
        pass
    assert torch.get_num_threads() == host + 2
    torch.set_num_threads(host)
