from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_zoommil.encoders import load_encoder
from napari_zoommil.encoders.convolutional import ConvolutionalEncoder, EncoderSizes
from napari_zoommil.encoders.folder import (
    LOCAL,
    EncoderSpec,
    as_encoder,
    encoder_folder,
    preprocessing_for,
    read_encoder_spec,
    save_encoder,
)
from napari_zoommil.encoders.trust import absolute_name, name_in_folder, name_to_load, source_of
from napari_zoommil.errors import ConsentError, EncoderError
from napari_zoommil.model_folder import CONFIG, WEIGHTS

SIZES = EncoderSizes(16, 3, (4, 8), 6, 5)


@pytest.fixture
def network() -> ConvolutionalEncoder:
    torch.manual_seed(0)
    made = ConvolutionalEncoder(SIZES)
    made(torch.randn(9, 3, 16, 16))  # batch normalisation remembers something
    return made.eval()


@pytest.fixture
def folder(tmp_path: Path, network: ConvolutionalEncoder) -> Path:
    spec = EncoderSpec(SIZES, preprocessing_for(SIZES), "vae", 32, 0.5, "cc0-1.0", training={"steps": 3})
    save_encoder(tmp_path / "made", network, spec, "# card\n")
    return tmp_path / "made"


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / CONFIG).read_text())
    edit(content)
    (folder / CONFIG).write_text(json.dumps(content))


def test_an_encoder_is_what_it_was_before_it_was_written(
    folder: Path, network: ConvolutionalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    before = as_encoder("before", network)
    for name in (str(folder), f"{LOCAL}{folder}"):
        read = load_encoder(name, before.hash)
        torch.testing.assert_close(read(patches), before(patches))
        assert (read.dim, read.licence, read.name) == (5, "cc0-1.0", "local-dir:made")
    monkeypatch.chdir(folder.parent)
    assert load_encoder("made").hash == before.hash
    assert read_encoder_spec(folder).scale == "32 px at 0.5 µm/px"


def test_another_hash_is_refused(folder: Path) -> None:
    with pytest.raises(EncoderError, match="other weights"):
        load_encoder(str(folder), "0" * 16)


def test_a_model_states_the_folders_name_and_cannot_choose_where_it_lies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = name_in_folder(str(folder))
    assert stated == "local-dir:made"
    assert source_of(stated) == "file"
    assert absolute_name(str(folder)) == f"{LOCAL}{folder}"
    monkeypatch.chdir(folder.parent)  # where the stated name would be found
    with pytest.raises(ConsentError, match="folder"):
        name_to_load("model", stated, "0" * 16)
    assert name_to_load("model", stated, "0" * 16, str(folder)) == str(folder)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda c: c["sizes"].update(code=6), "code.bias"),
        (lambda c: c["sizes"].update(widths=[4, 8192, 8192, 8192, 8192, 8192, 8192, 8192]), "do not fit"),
        (lambda c: c["sizes"].update(widths=[10**12]), "widths"),
        (lambda c: c["sizes"].update(edge="16"), "edge"),
        (lambda c: c["sizes"].update(channels=2), "channels"),
        (lambda c: c["preprocessing"].update(size=17), "preprocessing.size"),
        (lambda c: c["preprocessing"].update(std=[0, 0, 0]), "std"),
        (lambda c: c["preprocessing"].update(mean=[float("nan")] * 3), "mean"),
        (lambda c: c.update(network="evil"), "network"),
        (lambda c: c.update(kind="mil"), "a MIL model"),
        (lambda c: c.update(format=99), "later version"),
        (lambda c: c.pop("method"), "method is missing"),
    ],
)
def test_a_configuration_that_is_not_of_the_weights_is_refused(
    folder: Path, edit: Callable[[dict[str, Any]], None], told: str
) -> None:
    change(folder, edit)
    with pytest.raises(EncoderError, match=told):
        load_encoder(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["code.weight"][0, 0] = value
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(EncoderError, match=r"damaged: code\.weight"):
        load_encoder(str(folder))


def test_damaged_and_missing_weights_are_told(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\x00" * 40)
    with pytest.raises(EncoderError, match="do not fit"):
        load_encoder(str(folder))
    (folder / WEIGHTS).unlink()
    with pytest.raises(EncoderError, match="no file"):
        load_encoder(str(folder))


def test_a_folder_without_an_encoder_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="train-encoder"):
        load_encoder(str(tmp_path))


def test_a_configuration_of_any_size_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder_folder(str(folder)) == folder
    monkeypatch.setattr(
        "napari_zoommil.encoders.folder.MOST_TABLE_BYTES", (folder / CONFIG).stat().st_size - 1
    )
    assert encoder_folder(str(folder)) is None
