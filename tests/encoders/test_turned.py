from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.encoders.encoder import Preprocessing
from napari_zoommil.encoders.turned import VARIANTS, Turned, turned


@pytest.fixture
def patches() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)


def test_the_eight_views_are_those_of_a_square(patches: np.ndarray) -> None:
    views = [turned(patches, variant) for variant in range(VARIANTS)]
    np.testing.assert_array_equal(views[0], patches)
    assert len({view.tobytes() for view in views}) == 8
    np.testing.assert_array_equal(views[1][:, 0, 0], patches[:, 0, -1])  # a quarter anticlockwise
    np.testing.assert_array_equal(views[4], patches[:, :, ::-1])
    for view in views:
        assert view.flags.c_contiguous
        np.testing.assert_array_equal(np.sort(view, axis=None), np.sort(patches, axis=None))
    with pytest.raises(ValueError, match="variant 8"):
        turned(patches, 8)


def test_a_turned_encoder_encodes_turned_patches_under_another_hash(patches: np.ndarray) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    own = Encoder("flat", network, Preprocessing(), 5, half=False)
    other = Turned(own, 3)
    assert (other.dim, other.name, other.network) == (5, "flat", own.network)
    assert own.hash in other.hash and own.hash != other.hash != Turned(own, 4).hash
    torch.testing.assert_close(other(patches), own(turned(patches, 3)))
    assert not torch.allclose(other(patches), own(patches))


def test_what_looks_alike_from_all_sides_is_encoded_alike(patches: np.ndarray) -> None:
    own = load_encoder("mean-rgb")
    torch.testing.assert_close(Turned(own, 5)(patches), own(patches))
