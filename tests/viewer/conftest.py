"""A small real slide file and a viewer with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
import pytest
from napari.layers import Image

from napari_zoommil.synthetic import SyntheticSlide
from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.triton import load_triton_apart

load_triton_apart()  # tests that run later in this process may load timm


@pytest.fixture(scope="session")
def small_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic slide of 4096 px with a tumour, as a pyramidal TIFF."""
    path = tmp_path_factory.mktemp("slides") / "small.tif"
    SyntheticSlide(3, 4096, True, 0.12).write(path)
    return path


@pytest.fixture(scope="session")
def other_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second slide, without a tumour."""
    path = tmp_path_factory.mktemp("slides") / "other.tif"
    SyntheticSlide(4, 3072, False).write(path)
    return path


@pytest.fixture
def add_slide() -> Callable[[napari.Viewer, Path], Image]:
    """Add a slide to a viewer as the reader does."""

    def add(viewer: napari.Viewer, path: Path) -> Image:
        data, arguments, _ = open_slide_layer(path)
        return viewer.add_image(data, **arguments)

    return add
