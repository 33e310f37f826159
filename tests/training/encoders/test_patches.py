from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.errors import CohortError
from napari_zoommil.training.encoders.patches import PatchSet, beside, divided, patch_set


def numbered(count: int, **columns: object) -> PatchSet:
    """Patches whose pixels all have the patch's number."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 4, 4))
    return patch_set(pixels, **columns)  # type: ignore[arg-type]


def test_grey_and_rgb_patches_are_taken() -> None:
    assert numbered(3).pixels.shape == (3, 4, 4, 1)
    assert numbered(3).channels == 1
    assert patch_set(np.zeros((2, 5, 5, 3), np.uint8)).channels == 3


@pytest.mark.parametrize(
    ("pixels", "columns", "told"),
    [
        (np.zeros((2, 4, 4, 2), np.uint8), {}, "uint8"),
        (np.zeros((2, 4, 4), np.float32), {}, "float32"),
        (np.zeros((2, 4, 5), np.uint8), {}, "square"),
        (np.zeros((2, 4, 4), np.uint8), {"labels": [0]}, "2 patches, but 1 labels"),
        (np.zeros((2, 4, 4), np.uint8), {"neighbours": [2, -1]}, "neighbours"),
        (np.zeros((2, 4, 4), np.uint8), {"labels": [0, 2], "classes": ["a", "b"]}, "labels are 0 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(pixels: np.ndarray, columns: dict, told: str) -> None:
    with pytest.raises(CohortError, match=told):
        patch_set(pixels, **columns)


def test_chosen_patches_keep_the_neighbours_that_are_among_them() -> None:
    patches = numbered(4, images=[0, 0, 0, 1], neighbours=[1, 2, 0, -1], labels=[0, 1, -1, 1])
    chosen = patches.rows([2, 0, 3])
    assert chosen.pixels[:, 0, 0, 0].tolist() == [2, 0, 3]
    assert chosen.neighbours.tolist() == [1, -1, -1]
    assert patches.labelled.labels.tolist() == [0, 1, 1]


@given(st.sets(st.tuples(st.integers(0, 2), st.integers(-3, 9), st.integers(0, 9)), min_size=1))
def test_the_patch_beside_is_one_of_the_eight_around_in_the_same_image(
    places: set[tuple[int, int, int]],
) -> None:
    where = sorted(places)
    images, at = np.array([one[0] for one in where]), np.array([one[1:] for one in where])
    for row, other in enumerate(beside(images, at).tolist()):
        around = [
            place
            for place in range(len(where))
            if images[place] == images[row] and np.abs(at[place] - at[row]).max() == 1
        ]
        assert (other in around) if around else other == -1


def test_groups_stay_together_when_patches_are_divided() -> None:
    groups = np.repeat([f"p{one}" for one in range(10)], 7)
    patches = numbered(70, groups=groups)
    source = divided(patches, seed=3, shares=(0.2, 0.3))
    assert source.test is not None
    parts = [set(part.groups.tolist()) for part in (source.train, source.val, source.test)]
    assert [len(part) for part in parts] == [5, 2, 3]
    assert len(set.union(*parts)) == 10


def test_each_class_is_divided_where_asked() -> None:
    labels = np.repeat([0, 1], [32, 8])
    source = divided(numbered(40, groups=np.arange(40) // 4, labels=labels), shares=(0.25, 0), by_class=True)
    assert set(source.val.labels.tolist()) == {0, 1}


def test_a_single_patient_cannot_be_divided() -> None:
    with pytest.raises(CohortError, match="1 group"):
        divided(numbered(9, groups=["a"] * 9))
