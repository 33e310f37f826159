from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_zoommil.cells.model import Finds, load_cell_model
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.cells import sizes
from napari_zoommil.training.cells.sizes import with_known_sizes


def window(*boxes: tuple[float, float, float, float]) -> Window:
    shape = (96, 96)
    return Window(
        np.full((*shape, 3), 200, np.uint8),
        np.zeros(shape, np.int64),
        np.array(boxes, float).reshape(-1, 4),
        np.ones(len(boxes), np.int64),
        np.zeros(shape, bool),
    )


def test_a_point_takes_the_box_of_the_find_it_lies_in(
    make_cell_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, spec = load_cell_model(make_cell_model())
    radius = spec.diameters_px.max() / 2
    near, far = (20.0, 20.0, 30.0, 30.0), (60.0, 60.0, 70.0, 70.0)
    known = np.array([(22, 21, 29, 30), (65 + radius, 65 + radius, 70 + radius, 70 + radius)], float)
    finds = Finds(known, np.array([0.9, 0.8]), np.ones(2, np.int64))
    monkeypatch.setattr(sizes, "finds_of", lambda *_: finds)
    (sized,) = with_known_sizes(network, spec, [window(near, far)])
    np.testing.assert_array_equal(sized.boxes, [known[0], far])


def test_windows_without_points_or_finds_stay(make_cell_model: Callable[..., str]) -> None:
    network, spec = load_cell_model(make_cell_model())
    with torch.no_grad():
        network.head.bias[4] = -9.0  # finds nothing
    box = (20.0, 20.0, 30.0, 30.0)
    first, second = with_known_sizes(network, spec, [window(box), window()])
    assert first.boxes.tolist() == [list(box)] and not len(second.boxes)


def test_a_mask_model_learns_discs_as_they_are(make_cell_model: Callable[..., str]) -> None:
    network, spec = load_cell_model(make_cell_model("unet", padding="same"))
    windows = [window((20.0, 20.0, 30.0, 30.0))]
    assert with_known_sizes(network, spec, windows) == windows
