"""Viewers: a model without a window, one window for the tests of a module, and a slide in either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from npe2 import PluginManifest

from napari_zoommil.viewer.layers.slide import open_slide_layer
from napari_zoommil.viewer.triton import load_triton_apart

load_triton_apart()  # tests that run later in this process may load timm


@pytest.fixture(scope="session", autouse=True)
def manifests_read_once() -> Iterator[None]:
    """Installed plugins are searched for once, not by each window."""
    found = tuple(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        yield


@pytest.fixture
def add_slide() -> Callable[[napari.Viewer, Path], Image]:
    """Add a slide to a viewer as the reader does."""

    def add(viewer: napari.Viewer, path: Path) -> Image:
        data, arguments, _ = open_slide_layer(path)
        return viewer.add_image(data, **arguments)

    return add


@pytest.fixture
def model(qapp) -> ViewerModel:
    """A viewer without a window, for what is no matter of Qt."""
    return ViewerModel()


@pytest.fixture
def window(make_napari_viewer) -> napari.Viewer:
    """A real window."""
    return make_napari_viewer(show=True)
