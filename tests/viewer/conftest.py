"""A viewer with a slide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
import pytest
from napari.layers import Image

from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.triton import load_triton_apart

load_triton_apart()  # tests that run later in this process may load timm


@pytest.fixture
def add_slide() -> Callable[[napari.Viewer, Path], Image]:
    """Add a slide to a viewer as the reader does."""

    def add(viewer: napari.Viewer, path: Path) -> Image:
        data, arguments, _ = open_slide_layer(path)
        return viewer.add_image(data, **arguments)

    return add
