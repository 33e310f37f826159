"""A model over mean colour, small enough to run in every test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


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


@pytest.fixture(autouse=True)
def no_reader_is_left() -> Iterator[None]:
    """Every job ends its threads, however it ends."""
    yield
    left = [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("patch-reader", "fit"))
    ]
    assert not left
