"""Feature files as each tool writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

TRIDENT_FACTS = {
    "patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20,
    "overlap": 0, "name": "s", "level0_width": 2048, "level0_height": 1536,
}  # fmt: skip


@pytest.fixture(scope="session")
def write_h5() -> Callable[..., Path]:
    """Writes datasets and attributes: ``name=(array, attributes)``, and ``facts`` of the file."""

    def write(path: Path, facts: dict[str, Any] | None = None, **datasets: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs.update(facts or {})
            for name, (values, attributes) in datasets.items():
                made = file.create_dataset(name, data=values)
                for key, value in attributes.items():
                    made.attrs[key] = value
        return path

    return write


@pytest.fixture
def trident(tmp_path: Path, write_h5: Callable[..., Path]) -> Callable[..., Path]:
    """A file of TRIDENT: 3 × 4 patches of 256 px at 20x of a slide at 40x; any part of it may be changed."""

    def make(
        name: str = "s.h5",
        coords: Any = None,
        features: Any = None,
        drop: tuple[str, ...] = (),
        **facts: Any,
    ) -> Path:
        coords = np.indices((3, 4)).reshape(2, -1).T[:, ::-1] * 512 if coords is None else coords
        features = np.arange(12 * 5, dtype=np.float32).reshape(12, 5) if features is None else features
        said = {key: value for key, value in (TRIDENT_FACTS | facts).items() if key not in drop}
        own = {} if "encoder" in drop else {"encoder": facts.pop("encoder", "resnet50")}
        said.pop("encoder", None)
        return write_h5(tmp_path / name, coords=(coords, said), features=(features, own))

    return make
