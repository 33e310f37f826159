from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_zoommil.encoders import encoder_of_model, load_encoder, names
from napari_zoommil.encoders.trust import name_in_folder, source_of
from napari_zoommil.errors import ConsentError, EncoderError, ZoomMILError

HUB = "hf-hub:owner/name"
VIT = {"embed_dim": 12, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 16}


class Pickled:
    """What writes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Lays a repository of the hub into the local cache, as if downloaded; there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def lay(**entries: Any) -> Path:
        repository = tmp_path / "hub" / "models--owner--name"
        folder = repository / "snapshots" / ("0" * 40)
        folder.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        data = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
        config = {"architecture": "vit_tiny_patch16_224", "model_args": VIT, "pretrained_cfg": data | entries}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return lay


def vit() -> dict[str, torch.Tensor]:
    import timm

    return timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **VIT).state_dict()


@pytest.mark.parametrize("name", names())
def test_the_registry_needs_no_asking(name: str) -> None:
    assert source_of(name) == "registry" and name_in_folder(name) == name


@pytest.mark.parametrize(
    "name",
    [HUB, "hf-hub:MahmoodLab/UNI2-h", f"{HUB}@v1.0", "vit_small_patch16_224", "resnet18.a1_in1k", "resnot"],
)
def test_names_of_the_hub(name: str) -> None:
    assert source_of(name) == "hub" and name_in_folder(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "./net.pt",
        "hf-hub:owner/name.pt",
        "hf-hub:owner/name@v.pt/",
        "hf-hub:../../etc",
        "hf-hub:owner/name/more",
        "HF_HUB:owner/name",
        "resnet18\n",
        "resnet18 ",
        "/dev/stdin",
        "~",
        "",
    ],
)
def test_all_else_is_a_path_that_only_the_user_names(name: str) -> None:
    assert source_of(name) == "file"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("net.pt", "net.pt"),
        ("/home/me/net.pt", "net.pt"),
        ("~/net.ts", "net.ts"),
        ("../../net.jit", "net.jit"),
        ("local-dir:/home/me/uni", "local-dir:uni"),
        ("local-dir:uni", "local-dir:uni"),
    ],
)
def test_a_folder_tells_of_a_path_the_last_part_alone(name: str, short: str) -> None:
    assert name_in_folder(name) == short
    assert source_of(name) == source_of(short) == "file", "it stays one that only the user names"


def test_what_a_folder_may_load_is_checked_too() -> None:
    own = load_encoder("mean-rgb").hash
    assert encoder_of_model("m", "mean-rgb", own).hash == own
    with pytest.raises(EncoderError, match="other weights of the encoder mean-rgb"):
        encoder_of_model("m", "mean-rgb", "0" * 16)


@pytest.mark.parametrize("wanted", ["own path", "net.pt"])
def test_code_in_a_file_is_run_only_when_the_user_names_it(spy, wanted: str) -> None:  # type: ignore[no-untyped-def]
    named = str(spy.path) if wanted == "own path" else wanted
    with pytest.raises(ConsentError, match=r"^m was trained on .*TorchScript is code.*--encoder") as caught:
        encoder_of_model("m", named, spy.hash)
    asked = caught.value
    assert (asked.encoder, asked.encoder_hash, asked.from_hub) == (named, spy.hash, False)
    with pytest.raises(EncoderError, match="other weights"):
        encoder_of_model("m", named, "0" * 16, str(spy.path))
    assert spy.ran == []
    assert encoder_of_model("m", named, spy.hash, str(spy.path)).dim == 3
    assert spy.ran == ["called", "loaded"]


def test_an_empty_answer_is_none(spy) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ZoomMILError):
        encoder_of_model("m", str(spy.path), spy.hash, "")
    assert spy.ran == []


def test_a_long_or_odd_name_is_told_on_one_line() -> None:
    with pytest.raises(ConsentError) as caught:
        encoder_of_model("m", "\x1b[2J/x\n" * 1000, "0" * 16)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_the_hub_is_not_asked_before_the_user_is(
    cached: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    save_file(vit(), cached() / "model.safetensors")
    own = load_encoder(HUB).hash
    with monkeypatch.context() as patch:
        patch.setattr("timm.create_model", lambda *_, **__: pytest.fail("asked the hub"))
        for name in (HUB, "vit_tiny_patch16_224"):
            with pytest.raises(ConsentError, match=f"fetched when you allow it; --encoder {name}") as caught:
                encoder_of_model("m", name, own)
            assert caught.value.from_hub and caught.value.encoder == name
    assert encoder_of_model("m", HUB, own, HUB).hash == own
    with pytest.raises(EncoderError, match="other weights"):
        encoder_of_model("m", HUB, "0" * 16, HUB)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "named.bin"])
@pytest.mark.parametrize("local", [False, True], ids=["hub", "folder"])
def test_pickles_are_not_loaded_where_the_user_agreed_either(
    cached: Callable[..., Path], tmp_path: Path, file: str, local: bool
) -> None:
    folder = cached(**({"hf_hub_filename": file} if file == "named.bin" else {}))
    torch.save(vit() | {"more": Pickled(tmp_path / "proof")}, folder / file)
    name = f"local-dir:{folder}" if local else HUB
    with pytest.raises(EncoderError, match=f"weights of {name} could not be loaded.*weights_only"):
        load_encoder(name)
    assert not (tmp_path / "proof").exists()
    torch.load(folder / file, weights_only=False)
    assert (tmp_path / "proof").exists(), "it would have been run"
