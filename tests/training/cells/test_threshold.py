from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from napari_zoommil.cells.model import Finds, load_cell_model
from napari_zoommil.cells.windows import Window
from napari_zoommil.training.cells import threshold
from napari_zoommil.training.cells.threshold import threshold_by_marks

SHAPE = (240, 240)


def window(centres: Sequence[tuple[float, float]], origin: tuple[int, int] = (0, 0)) -> Window:
    places = np.reshape(np.array(centres, float), (-1, 2))
    nothing = np.zeros(SHAPE, np.int64)
    boxes = np.concatenate([places - 8, places + 8], 1)
    image = np.full((*SHAPE, 3), 200, np.uint8)
    return Window(image, nothing, boxes, np.ones(len(boxes), np.int64), nothing > 0, origin)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a network find such scores at such places, window by window."""

    def say(*answers: tuple[Sequence[tuple[float, float]], Sequence[float]]) -> None:
        told: Iterator[Finds] = iter(
            Finds(window(places).boxes, np.array(scores, float), np.ones(len(scores), np.int64))
            for places, scores in answers
        )
        monkeypatch.setattr(threshold, "finds_of", lambda *_: next(told))

    return say


PLACES = [(20.0 * row, 100.0) for row in range(1, 11)]


def test_nine_in_ten_marked_cells_are_found_from_it_on(
    make_cell_model: Callable[..., str], says: Callable[..., None]
) -> None:
    network, spec = load_cell_model(make_cell_model())
    scores = [0.3, 0.828, *[0.9] * 8]
    elsewhere = [(20.0, 200.0), (60.0, 200.0)]
    says((PLACES + elsewhere, [*scores, 0.99, 0.2]))
    assert threshold_by_marks(network, spec, [window(PLACES)]) == 0.82, "in hundredths"


def test_a_cell_in_several_windows_counts_once_by_the_best(
    make_cell_model: Callable[..., str], says: Callable[..., None]
) -> None:
    network, spec = load_cell_model(make_cell_model())
    shifted = [(y, x - 40) for y, x in PLACES]
    says((PLACES, [0.95, *[0.9] * 9]), (shifted[:1], [0.4]))
    windows = [window(PLACES), window(shifted, origin=(0, 40))]
    assert threshold_by_marks(network, spec, windows) == 0.9


def test_where_too_few_are_found_the_threshold_stays(
    make_cell_model: Callable[..., str], says: Callable[..., None]
) -> None:
    network, spec = load_cell_model(make_cell_model())
    spec = replace(spec, threshold=0.7)
    says((PLACES[:8], [0.9] * 8))
    assert threshold_by_marks(network, spec, [window(PLACES)]) == 0.7
    says(([], []))
    assert threshold_by_marks(network, spec, [window([])]) == 0.7
    assert threshold_by_marks(network, spec, []) == 0.7


def test_a_mask_model_keeps_its_threshold(make_cell_model: Callable[..., str]) -> None:
    network, spec = load_cell_model(make_cell_model("unet", padding="same"))
    assert threshold_by_marks(network, spec, [window(PLACES)]) == spec.threshold
