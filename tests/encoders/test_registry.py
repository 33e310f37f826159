from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.encoders import load_encoder, names, registry
from napari_zoommil.encoders.registry import file_hash, timm_encoder
from napari_zoommil.errors import EncoderError, first_line

TINY = {"embed_dim": 12, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 16}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after ``HF_HUB_OFFLINE=1`` with nothing downloaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def tiny_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5)).eval()


def save_traced(path: Path, network: nn.Module, frozen: bool = False) -> str:
    traced = torch.jit.trace(network.eval(), torch.zeros(1, 3, 224, 224))
    (torch.jit.freeze(traced) if frozen else traced).save(str(path))
    return str(path)


def test_mean_rgb_is_the_mean_colour() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    encoder = load_encoder("mean-rgb")
    assert (encoder.name, encoder.dim) == ("mean-rgb", 3)
    np.testing.assert_allclose(encoder(patches), patches.mean((1, 2)) / 255, atol=1e-6)


def test_the_untrained_resnet_is_the_same_each_time() -> None:
    state = torch.random.get_rng_state()
    encoder = load_encoder("resnet50-random")
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers are left alone"
    assert encoder.hash == load_encoder("resnet50-random").hash
    assert encoder(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, encoder.dim) == (1, 1024)
    assert sum(weight.numel() for weight in encoder.network.parameters()) == 8_543_296


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(EncoderError, match="no encoder 'resnot'") as caught:
        load_encoder("resnot")
    assert all(name in str(caught.value) for name in names())


def test_weights_missing_from_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*parts: str) -> Path:
        raise FileNotFoundError("model.safetensors is missing; reinstall napari-zoommil")

    monkeypatch.setattr(registry, "resource", missing)
    with pytest.raises(EncoderError, match="reinstall"):
        load_encoder("nic")


def test_a_timm_network_brings_its_preprocessing() -> None:
    import timm
    from timm.data import resolve_model_data_config

    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 32, 32)}, **TINY
    )
    encoder = timm_encoder("tiny", network, resolve_model_data_config(network))
    assert (encoder.dim, encoder.preprocessing.size) == (12, 32)
    assert encoder.preprocessing.interpolation == "bicubic"
    assert encoder.preprocessing.mean == network.pretrained_cfg["mean"]
    assert encoder(np.zeros((2, 48, 48, 3), np.uint8)).shape == (2, 12)


def test_a_network_with_a_map_for_output_is_refused() -> None:
    config = {"input_size": (3, 16, 16), "mean": (0, 0, 0), "std": (1, 1, 1)}
    with pytest.raises(EncoderError, match="one vector per patch"):
        timm_encoder("map", nn.Conv2d(3, 4, 3), config)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["hf-hub:nobody/nothing", "vit_tiny_patch16_224"])
def test_offline_hub_names_the_way_out(name: str) -> None:
    with pytest.raises(EncoderError, match=f"weights of {name}") as caught:
        load_encoder(name)
    assert "hf auth login" in str(caught.value) and "local-dir:" in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_a_downloaded_folder_needs_no_network(tmp_path: Path) -> None:
    import json

    import timm
    from safetensors.torch import save_file

    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **TINY)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    content = {"architecture": "vit_tiny_patch16_224", "model_args": TINY, "pretrained_cfg": config}
    (tmp_path / "config.json").write_text(json.dumps(content))
    encoder = load_encoder(f"local-dir:{tmp_path}")
    assert (encoder.dim, encoder.preprocessing.mean) == (12, (0.5, 0.5, 0.5))
    assert torch.equal(encoder.network.patch_embed.proj.weight, network.patch_embed.proj.weight)


def test_a_hub_error_without_words_is_still_a_sentence() -> None:
    def fail() -> None:
        raise TimeoutError

    with pytest.raises(EncoderError, match="TimeoutError: TimeoutError"):
        registry._from_hub("x", fail)
    assert first_line(ValueError("one\ntwo")) == "one"


def test_torchscript_gives_what_the_network_gives(tmp_path: Path) -> None:
    network = tiny_net()
    encoder = load_encoder(save_traced(tmp_path / "net.pt", network))
    patches = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    images = encoder.preprocessing(torch.from_numpy(patches))
    assert encoder.dim == 5
    torch.testing.assert_close(encoder(patches), network(images))


def test_frozen_torchscript_files_are_told_apart(tmp_path: Path) -> None:
    one, other = tiny_net(), tiny_net()
    with torch.no_grad():
        other[2].weight += 1
    paths = [save_traced(tmp_path / f"{i}.pt", net, frozen=True) for i, net in enumerate((one, other))]
    first, second = (load_encoder(path) for path in paths)
    assert not first.network.state_dict(), "frozen weights are constants"
    assert first.hash != second.hash
    assert first.hash == load_encoder(paths[0]).hash


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = Path(save_traced(tmp_path / "net.pt", tiny_net()))
    copy = tmp_path / "copy of it.ts"
    copy.write_bytes(path.read_bytes())
    encoder = load_encoder(str(copy), file_hash(path))
    assert encoder.hash == file_hash(path) == file_hash(copy) and len(encoder.hash) == 16
    copy.write_bytes(path.read_bytes() + b"\0")
    assert file_hash(copy) != encoder.hash


def test_another_hash_is_refused(spy) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EncoderError, match="other weights of the encoder mean-rgb"):
        load_encoder("mean-rgb", "0" * 16)
    with pytest.raises(EncoderError, match=f"other weights of the encoder .*hash 0000.*not {spy.hash}"):
        load_encoder(str(spy.path), "0" * 16)
    assert spy.ran == [], "the hash of a file is compared before its code is run"
    assert load_encoder(str(spy.path), spy.hash).dim == 3
    assert spy.ran == ["called", "loaded"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.pt")
    with pytest.raises(EncoderError, match="no TorchScript encoder"):
        load_encoder(str(tmp_path / "net.pt"))


def test_pickles_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pt")
    torch.save(tiny_net(), tmp_path / "whole.pt")
    for name in ("model.pt", "whole.pt"):
        with pytest.raises(EncoderError, match=f"{name} is not TorchScript.*can run code"):
            load_encoder(str(tmp_path / name))
    with pytest.raises(EncoderError, match="no TorchScript encoder"):
        load_encoder(str(tmp_path / "absent.pt"))
