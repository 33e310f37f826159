"""What must start at once, or on a machine without a display, loads neither torch nor Qt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "lightning", "timm", "qtpy", "PyQt6", "PySide6", "napari")

SLOW = ("scipy", "skimage", "zarr")
"""Together a second to import; commands that need none of them do not wait for it."""

UNNEEDED = ("numpy", "dask", "shapely", "napari_zoommil.jobs")
"""What a command that only tells something does without, at best."""

REPORT = """
import sys
print(*sys.modules, file=sys.stderr)
"""

OPEN_SLIDE = """
import sys
from napari_zoommil import Slide

slide = Slide.open(sys.argv[1])
pyramid = slide.pyramid()
print(*pyramid[0].shape, pyramid[0][:64, :64].compute().mean() > 0)
"""

COMMAND = """
import sys
from napari_zoommil.cli import main

try:
    main(sys.argv[1:])
except SystemExit as end:
    if end.code:
        raise
"""


def run(code: str, *arguments: str) -> tuple[str, list[str]]:
    """Standard output of ``code`` in a fresh interpreter, and the heavy packages it loaded."""
    command = [sys.executable, "-c", code + REPORT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    known = done.stderr.splitlines()[-1].split()
    return done.stdout, [name for name in (*HEAVY, *SLOW, *UNNEEDED) if name in known]


def test_a_heavy_import_is_noticed() -> None:
    assert "qtpy" in run("import qtpy.QtCore")[1]


@pytest.mark.parametrize("module", ["napari_zoommil", "napari_zoommil.slides", "napari_zoommil.jobs"])
def test_import_is_light(module: str) -> None:
    assert not set(run(f"import {module}")[1]) & {*HEAVY, *SLOW}


def test_opening_a_slide_is_light(cmu: Path) -> None:
    printed, loaded = run(OPEN_SLIDE, str(cmu))
    assert printed.split() == ["2967", "2220", "3", "True"]
    assert not set(loaded) & set(HEAVY)


def test_info_command_is_light(cmu: Path) -> None:
    printed, loaded = run(COMMAND, "info", str(cmu), "--json")
    assert isinstance(json.loads(printed), dict)
    assert loaded == ["numpy"]


@pytest.mark.parametrize(("asked", "told"), [("--help", "info"), ("--version", ".")])
def test_help_is_light(asked: str, told: str) -> None:
    printed, loaded = run(COMMAND, asked)
    assert told in printed
    assert loaded == []
