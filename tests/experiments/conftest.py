"""Small made tiles: dark discs on pink, every one known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk
from skimage.io import imsave


@pytest.fixture(scope="session")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tiles of 64 px with nine nuclei of about 10 px each."""
    folder = tmp_path_factory.mktemp("nuclei")
    rng = np.random.default_rng(0)
    for number in range(6):
        image = np.full((64, 64, 3), (230, 190, 210), np.int16)
        instances = np.zeros((64, 64), np.uint16)
        for index in range(9):
            centre = np.array(divmod(index, 3)) * 21 + 10 + rng.integers(-3, 4, 2)
            rows = disk(centre, 4 + rng.random() * 2, shape=(64, 64))
            instances[rows], image[rows] = index + 1, (90, 50, 130)
        image = np.clip(image + rng.integers(-9, 10, image.shape), 0, 255)
        imsave(folder / f"tile{number}.png", image.astype(np.uint8), check_contrast=False)
        imsave(folder / f"tile{number}_instances.png", instances, check_contrast=False)
    return folder
