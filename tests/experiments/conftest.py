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


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files with few images, each a bright bar at the place of its class on noise."""
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(0)
    for name, count in (("train", 5_400), ("t10k", 300)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), np.uint8)
        rows = np.arange(28)
        bar = (rows >= 2 + 2 * labels[:, None]) & (rows < 7 + 2 * labels[:, None])
        images[bar] += 180
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = np.array([2048 + values.ndim, *values.shape], ">u4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + values.tobytes())
    return folder


@pytest.fixture
def histology(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and light nuclei of 12 patients, and tiles of two organs with three slides each."""
    root, rng = tmp_path_factory.mktemp("histology"), np.random.default_rng(0)
    kinds = np.tile(["dark", "light"], 60)
    images = (
        rng.integers(0, 80, (120, 16, 16, 3), np.uint8)
        + np.where(kinds == "dark", 40, 120).astype(np.uint8)[:, None, None, None]
    )
    (root / "nuclei").mkdir()
    np.savez(
        root / "nuclei" / "crc_cell_types_27px.npz",
        images=images, cell_type=kinds.astype(object), patient=np.repeat(np.arange(12), 10),
    )  # fmt: skip
    tiles = root / "tiles" / "tcga"
    for number, organ in enumerate(("brca",) * 3 + ("coad",) * 3):
        (tiles / f"slide{number}").mkdir(parents=True)
        for tile in range(2):
            pixels = rng.integers(0, 120, (32, 32, 3), np.uint8) + np.uint8(60 * (organ == "coad"))
            imsave(tiles / f"slide{number}" / f"{tile}.png", pixels, check_contrast=False)
    lines = [f"slide{number},{'brca' if number < 3 else 'coad'}" for number in range(6)]
    (tiles / "labels.csv").write_text("\n".join(lines) + "\n")
    return root
