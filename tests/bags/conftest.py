"""Features that tell every patch from every other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_zoommil.bags.group import FeatureGroup

DIM = 5


@pytest.fixture(scope="session")
def features_of() -> Callable[[NDArray], NDArray[np.float32]]:
    """(n, 2) origins → (n, 5) features that half precision holds exactly."""

    def make(origins: NDArray) -> NDArray[np.float32]:
        y, x = (np.rint(origins * 2).astype(np.int64) % 2048).T
        return np.stack([y, x, y // 2, x // 2, y * 0 + 1], 1).astype(np.float32)

    return make


@pytest.fixture
def group(tmp_path: Path) -> FeatureGroup:
    return FeatureGroup(tmp_path / "group", "float16")
