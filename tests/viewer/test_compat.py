"""What napari does behind its public face, and what is done about it."""

from __future__ import annotations

import subprocess
import sys

from napari.components import ViewerModel

from napari_zoommil.viewer.compat import delete_in_own_context

LAYERS_COME_AND_GO = """
import os
import time

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_zoommil.viewer.session import session_of


def draw():
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        QApplication.processEvents()


viewer = napari.Viewer()
session_of(viewer)
viewer.add_image(np.zeros((64, 64)))
draw()
for _ in range(2):
    shapes = viewer.add_shapes([np.array([(0, 0), (0, 9), (9, 9), (9, 0)])])
    draw()
    viewer.layers.remove(shapes)
    draw()
    viewer.add_image(np.zeros((8, 8)))
    draw()
print("still there", flush=True)
os._exit(0)
"""


def test_what_is_drawn_after_a_layer_was_removed_does_not_crash() -> None:
    """In a process of its own: with software OpenGL a crash ends it."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", LAYERS_COME_AND_GO],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.stdout.split("\n")[:1] == ["still there"], done.stderr[-4000:]
    assert done.returncode == 0


def test_a_viewer_without_a_window_is_left_as_it_is() -> None:
    viewer = ViewerModel()
    before = len(viewer.layers.events.removing.callbacks)
    delete_in_own_context(viewer)
    assert len(viewer.layers.events.removing.callbacks) == before
