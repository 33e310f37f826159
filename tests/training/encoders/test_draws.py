from __future__ import annotations

import numpy as np
import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.training.encoders.draws import InOrder, Pairs, Shuffled, Singles
from napari_zoommil.training.encoders.patches import PatchSet, beside, patch_set


def on_lattices(images: int = 5, edge: int = 6) -> PatchSet:
    """Patches whose first two pixels are the number of their image and of their place."""
    of_image = np.repeat(np.arange(images), edge**2)
    place = np.tile(np.arange(edge**2), images)
    pixels = np.zeros((len(place), 4, 4), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = of_image, place
    at = np.stack([place // edge, place % edge], 1)
    return patch_set(pixels, images=of_image, neighbours=beside(of_image, at))


def test_each_patch_is_drawn_once_before_any_is_drawn_again() -> None:
    draws = Shuffled(10, 4, 5, seed=1)
    rows = np.concatenate([one for one, _ in draws])
    assert len(rows) == 20
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))


def test_an_epoch_has_an_order_of_its_own_that_can_be_had_again() -> None:
    draws = Shuffled(100, 10, 3, seed=1)
    first = [one.tolist() for one, _ in draws]
    draws.set_epoch(1)
    second = [one.tolist() for one, _ in draws]
    draws.set_epoch(0)
    assert first != second
    assert first == [one.tolist() for one, _ in draws]


def test_validation_patches_are_spread_evenly_and_always_the_same() -> None:
    draws = InOrder(1000, 4, 10, seed=1)
    rows = np.concatenate([one for one, _ in draws])
    assert rows.tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert [seed for _, seed in draws] == [seed for _, seed in draws]


def test_pairs_are_of_the_same_of_adjacent_and_of_other_slides_in_the_shares_of_the_paper() -> None:
    patches = on_lattices()
    batch = Pairs(patches)[np.resize(np.arange(len(patches)), 20_000), 0]
    first, second, same = batch.first[:, 0, :2, 0].int(), batch.second[:, 0, :2, 0].int(), batch.targets == 1
    assert float(same.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert (first[same] == second[same]).all()
    one, other = first[~same], second[~same]
    within = one[:, 0] == other[:, 0]
    assert float(within.float().mean()) == pytest.approx(0.75, abs=0.02)
    places = [np.stack(np.divmod(part[within, 1].numpy(), 6)) for part in (one, other)]
    assert (np.abs(places[0] - places[1]).max(0) == 1).all()
    assert len(set(other[~within, 0].tolist())) == 5


def test_patches_without_neighbours_are_paired_with_other_images() -> None:
    patches = patch_set(np.arange(64, dtype=np.uint8).repeat(16).reshape(64, 4, 4))
    batch = Pairs(patches)[np.arange(64), 1]
    differ = batch.targets == 0
    assert differ.any()
    assert (batch.first[differ] != batch.second[differ]).all()


def test_pairs_of_one_image_need_neighbours() -> None:
    alone = patch_set(np.zeros((9, 4, 4), np.uint8), images=[0] * 9)
    with pytest.raises(CohortError, match="adjacent"):
        Pairs(alone)
    rows = np.arange(36)
    batch = Pairs(on_lattices(1))[rows, 0]
    moved = batch.first[:, 0, 1, 0] != batch.second[:, 0, 1, 0]
    assert (moved == (batch.targets == 0)).all()
    lonely = patch_set(np.zeros((9, 4, 4), np.uint8), images=[0] * 9, neighbours=[1, 0, *[-1] * 7])
    assert Pairs(lonely)[np.arange(2, 9), 0].targets.all()


def test_single_patches_come_with_their_labels() -> None:
    patches = patch_set(np.arange(5, dtype=np.uint8).repeat(16).reshape(5, 4, 4), labels=[0, 1, 2, 3, 4])
    batch = Singles(patches)[np.array([3, 1]), 7]
    assert batch.targets.tolist() == batch.first[:, 0, 0, 0].tolist() == [3, 1]
    assert batch.seed == 7
