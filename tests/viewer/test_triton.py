"""A window and timm live in one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="torch comes without triton here")

SCRIPT = """
import napari
viewer = napari.Viewer(show=False)
from napari_zoommil.viewer.triton import load_triton_apart
load_triton_apart()
from napari_zoommil.encoders import load_encoder
print(load_encoder("resnet50-random").dim)
"""


def test_an_encoder_of_timm_loads_beside_an_open_window(qapp) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1024"]
