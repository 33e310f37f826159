"""Broken, crafted and unusual files: each is a slide, or refused in one clear sentence."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_zoommil.commands.report import describe, describe_text
from napari_zoommil.errors import SlideError
from napari_zoommil.slides import Slide

LONGEST = 400
EDGE = 64

SHOWN = (UserWarning, RuntimeWarning)
"""Warnings that Python prints by itself."""

DATA = os.environ.get("NAPARI_ZOOMMIL_DATA")
NAMES = sorted(path.name for path in Path(DATA, "odd").iterdir()) if DATA else []


def is_sentence(text: str) -> bool:
    return 0 < len(text) < LONGEST and len(text.splitlines()) == 1


def held(path: Path) -> bool:
    """Whether this process has a file open."""
    return any(Path(file.path) == path for file in psutil.Process().open_files())


@contextmanager
def plain() -> Iterator[None]:
    """Logging as in a program that sets nothing up: warnings go to standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        yield


def look(path: Path) -> list[str]:
    """Open, describe and read a file; the sentences with which any of it was refused."""
    try:
        slide = Slide.open(path)
    except SlideError as error:
        return [str(error)]
    said = []
    with slide:
        assert path.name in describe_text(describe(slide))
        for index in range(len(slide.levels)):
            try:
                window = slide.read_level(index, -1, -1, EDGE, EDGE)
                assert window.shape == (EDGE, EDGE, 3) and window.dtype == np.uint8
            except SlideError as error:
                said.append(str(error))
    return said


def test_a_warning_would_be_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with plain():
        logging.getLogger("of nobody").warning("careful")
    assert "careful" in capfd.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_or_is_refused_in_a_sentence(
    data: Path, name: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    path = data / "odd" / name
    with plain():
        said = look(path)
    assert all(is_sentence(sentence) and name in sentence for sentence in said), said
    assert tuple(capfd.readouterr()) == ("", "")
    seen = [str(warning.message) for warning in recwarn if issubclass(warning.category, SHOWN)]
    assert seen == []
    gc.collect()  # a refusal's traceback may hold the file until then
    assert not held(path)


def test_a_good_slide_of_an_odd_name_opens(data: Path) -> None:
    with Slide.open(data / "odd" / "😐.svs") as slide:
        assert describe(slide)["slide"] == "😐.svs"
        assert slide.read_level(0, 0, 0, EDGE, EDGE).shape == (EDGE, EDGE, 3)


def test_held_notices_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "own"  # others may hold a file that is shared
    with path.open("wb"):
        assert held(path)
    assert not held(path)
