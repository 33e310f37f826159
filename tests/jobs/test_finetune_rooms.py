"""A request to fine-tune goes through the rooms in one order, and does not run to and fro between them."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import napari_zoommil
from napari_zoommil.annotations import CellClass, Points, annotations_path
from napari_zoommil.jobs import run
from napari_zoommil.jobs.finetune_run import finetune_in_run
from napari_zoommil.jobs.finetune_runs import Request
from napari_zoommil.slides import Slide

PACKAGE = Path(napari_zoommil.__file__).parent
MOST = {"annotations": 2, "slides": 2, "cells": 2, "training": 3}
"""Training begins with a guard of the folder, before anything is read."""


def room(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    return path.relative_to(PACKAGE).parts[0] if path.is_relative_to(PACKAGE) else None


@contextmanager
def entered() -> Iterator[list[str]]:
    """Rooms whose functions jobs call, in order; generators, which are entered again and again, apart."""
    rooms: list[str] = []

    def follow(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or frame.f_back is None or frame.f_code.co_flags & inspect.CO_GENERATOR:
            return
        own = room(frame)
        if own in MOST and room(frame.f_back) == "jobs":
            rooms.append(own)

    before = sys.getprofile()
    sys.setprofile(follow)
    try:
        yield rooms
    finally:
        sys.setprofile(before)


@pytest.fixture
def slide(discs: tuple[Path, np.ndarray]) -> Iterator[Slide]:
    with Slide.open(discs[0]) as opened:
        points = Points(classes=[CellClass("disc", (0, 114, 178), 10.0)])
        points.add(discs[1][::2], 1)
        points.write(annotations_path(opened))
        yield opened


def test_no_room_is_entered_more_often_than_it_must(
    slide: Slide, make_cell_model: Callable[..., str]
) -> None:
    request = Request(make_cell_model(), epochs=2)
    with entered() as rooms:
        result = run(finetune_in_run(slide, request, device="cpu", threads=1))
    assert result.model.is_dir()
    visits = Counter(name for name, _ in groupby(rooms))
    assert set(visits) == set(MOST), "each was seen"
    assert all(count <= MOST[name] for name, count in visits.items()), visits
