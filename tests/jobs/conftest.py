"""A model over mean colour, small enough to run in every test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points, annotations_path
from napari_zoommil.slides import Slide


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., str]:
    """Writes an untrained model folder and returns its name; arguments replace the specification's."""

    def make(
        magnifications: tuple[float, ...] = (5.0, 10.0, 20.0),
        k: int = 4,
        classifier: str = "linear",
        **changes: Any,
    ) -> str:
        import torch

        from napari_zoommil.encoders import load_encoder
        from napari_zoommil.models import create
        from napari_zoommil.models.spec import ModelSpec, save_model

        torch.manual_seed(0)
        options = {"k": k, "hidden": 8, "attention": 4, "classifier": classifier}
        model = create("zoommil", in_features=3, classes=2, magnifications=magnifications, **options)
        spec: dict[str, Any] = {
            "architecture": "zoommil",
            "config": model.config(),
            "encoder": "mean-rgb",
            "encoder_hash": load_encoder("mean-rgb").hash,
            "patch_size": 128,
            "class_names": ("benign", "tumour"),
        }
        save_model(tmp_path / "model", model, ModelSpec(**{**spec, **changes}), "# Test\n")
        return str(tmp_path / "model")

    return make


@pytest.fixture
def quick_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset of cell models for a user who waits, made so short that a test can."""
    from napari_zoommil.training.cells import presets
    from napari_zoommil.training.cells.module import CellRecipe

    quick = CellRecipe(
        epochs=3,
        draws=8,
        batch_size=4,
        accumulate=1,
        learning_rate=1e-2,
        crop=64,
        background=1.0,
        stained=False,
    )
    monkeypatch.setitem(presets.PRESETS, "interactive", quick)


@pytest.fixture
def slide(discs: tuple[Path, np.ndarray]) -> Iterator[Slide]:
    """A slide of 48 discs, half of them marked."""
    with Slide.open(discs[0]) as opened:
        points = Points(classes=[CellClass("unused", (1, 2, 3)), CellClass("disc", (0, 114, 178), 10.0)])
        points.add(discs[1][::2], 2)
        points.write(annotations_path(opened))
        yield opened


@pytest.fixture(autouse=True)
def no_reader_is_left() -> Iterator[None]:
    """Every job ends its threads, however it ends."""
    yield
    left = [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("patch-reader", "fit"))
    ]
    assert not left
