from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_zoommil.annotations import CellClass
from napari_zoommil.cells.model import (
    LEAST_SCORE,
    as_images,
    create_cell_model,
    find,
    fitting,
    load_cell_model,
    save_cell_model,
)
from napari_zoommil.cells.spec import CellSpec
from napari_zoommil.cells.unet import UNet
from napari_zoommil.errors import ModelError


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("yollo", {"anchors": ((20.0, 20.0), (30.0, 12.0))}), ("unet", {"padding": "same"}), ("unet", {})],
)
@pytest.mark.parametrize("classes", [1, 3])
def test_a_model_is_what_was_saved(
    make_cell_model: Callable[..., str], architecture: str, config: dict, classes: int
) -> None:
    network, spec = load_cell_model(make_cell_model(architecture, classes, **config))
    again = create_cell_model(spec)
    again.load_state_dict(network.state_dict())
    assert len(spec.classes) == classes and spec.classes[0] == CellClass("class 0", (0, 114, 178), 10.0)
    images = torch.rand(1, 3, fitting(network, 64), fitting(network, 64))
    (found,) = find(network, spec, images)
    assert found.boxes.shape == (len(found), 4) and set(found.labels) <= {*range(1, classes + 1)}
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_half_precision_weights_are_read(make_cell_model: Callable[..., str], tmp_path: Path) -> None:
    network, spec = load_cell_model(make_cell_model("unet", padding="same"))
    save_cell_model(tmp_path / "half", network.half(), spec, "# Half\n")
    again, _ = load_cell_model(tmp_path / "half")
    assert next(again.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"architecture": "resnet"}, "no cell model 'resnet'"),
        ({"classes": "none"}, "classes should be a valid array"),
        ({"config": {"depth": 3}}, "configuration of a yollo"),
        ({"config": {"width": 8}}, "do not fit"),
        ({"classes": [{"name": "cell", "colour": [9, 9, 9]}] * 2}, "classes has a name twice"),
    ],
)
def test_a_folder_that_is_none_is_refused(
    make_cell_model: Callable[..., str], change: dict, why: str
) -> None:
    folder = Path(make_cell_model())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=why):
        load_cell_model(folder)


def test_a_mil_model_is_no_cell_model() -> None:
    with pytest.raises(ModelError, match=r"^demo is a MIL model; .* or choose yollo"):
        load_cell_model("demo")


class Painted(UNet):
    """Says with certainty that bright pixels are cells."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, :1] - 0.5) * 20


def test_bright_pieces_become_finds() -> None:
    spec = CellSpec("unet", {}, 0.5, (CellClass("disc", (0, 0, 0), 5.0),))
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:20, 20:30] = image[40:50, 4:14] = 255
    (found,) = find(Painted(width=2, padding="same"), spec, as_images(image[None]))
    np.testing.assert_allclose(sorted(found.centres.tolist()), [[15, 25], [45, 9]])
    assert (found.scores > 0.99).all()
    np.testing.assert_allclose(sorted(found.boxes.tolist()), [[10, 20, 20, 30], [40, 4, 50, 14]])


def test_unlikely_boxes_are_not_kept(make_cell_model: Callable[..., str]) -> None:
    network, spec = load_cell_model(make_cell_model())
    with torch.no_grad():
        network.head.bias[4] = -9.0
    assert find(network, spec, torch.rand(2, 3, 64, 64))[1].scores.tolist() == []
    with torch.no_grad():
        network.head.bias[4] = 9.0
    found = find(network, spec, torch.rand(1, 3, 64, 64))[0]
    assert len(found) and (found.scores >= LEAST_SCORE).all()
