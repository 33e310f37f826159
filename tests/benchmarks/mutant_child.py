"""A user's day with one file after another: paths on standard input, a report of each on standard output.

python tests/benchmarks/mutant_child.py [--reader]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from napari_zoommil.errors import MagnificationError, MissingResolutionError, NoTissueError

Span = tuple[int, int]
Report = dict[str, Any]

MEMORY = 4 << 30
"""Bytes by which a child may grow over one file."""

SOUND = (MagnificationError, MissingResolutionError, NoTissueError)
"""What a prediction may say of a file that is whole."""

WINDOW = 192
SCALES = (1.0, 1.7, 4.0, 16.0)


def windows(shape: tuple[int, int]) -> Iterator[Span]:
    """Corners of windows at the beginning, in the middle and over the far rim of a level."""
    height, width = shape
    yield from ((0, 0), (height // 2, width // 2), (height - WINDOW // 2, width - WINDOW // 2))


def pixels(image: Any, shape: tuple[int, ...] | None = None) -> None:
    """Hold an image to what a reader promises."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    assert shape is None or image.shape[:2] == shape, (image.shape, shape)


def steps(slide: Any, predicting: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a user and a window do with an open slide."""
    from napari_zoommil.commands.report import describe, describe_text
    from napari_zoommil.jobs import predict, run

    yield "info", lambda: describe_text(describe(slide))
    yield "pyramid", lambda: pixels(np.asarray(slide.pyramid()[-1]))
    for index, level in enumerate(slide.levels):
        for y, x in windows(level.shape):
            yield (
                f"level {index}",
                lambda i=index, y=y, x=x: pixels(slide.read_level(i, y, x, WINDOW, WINDOW), (WINDOW, WINDOW)),
            )
    for scale in SCALES:
        for y, x in windows(slide.shape):
            yield (
                f"scale {scale}",
                lambda s=scale, y=y, x=x: pixels(
                    slide.read_downsampled(y, x, WINDOW, WINDOW, (s, s)), (WINDOW, WINDOW)
                ),
            )
    for name in slide.associated:
        yield f"image {name}", lambda name=name: pixels(slide.associated_image(name))
    if predicting:
        yield "predict", lambda: run(predict(slide, device="cpu", threads=1, workers=2))


def use(path: Path, predicting: bool) -> Report:
    """Outcome of one file, with the first sentence of every step that was refused."""
    from napari_zoommil.errors import ZoomMILError
    from napari_zoommil.slides import Slide

    said: dict[str, str] = {}
    try:
        slide = Slide.open(path)
    except ZoomMILError as error:
        return {"outcome": "refused", "said": {"open": str(error)}}
    except Exception:
        return {"failure": "exception", "step": "open", "detail": traceback.format_exc()}
    step, hurt = "close", False
    try:
        with slide:
            for step, act in steps(slide, predicting):
                try:
                    act()
                except ZoomMILError as error:
                    said.setdefault(step, str(error))
                    hurt |= not isinstance(error, SOUND)
            damaged = slide.damaged
    except Exception:
        return {"failure": "exception", "step": step, "detail": traceback.format_exc(), "said": said}
    return {
        "outcome": "opened-with-damage" if hurt or damaged else "opened",
        "said": said,
        "damaged": damaged,
    }


def open_files(path: Path) -> list[str]:
    """What this process still holds open at or below a path."""
    found = (file.path for file in psutil.Process().open_files())
    return [name for name in found if Path(name) == path or path in Path(name).parents]


def limit_address_space() -> None:
    """An allocation that no machine has is an error with a traceback; the parent watches smaller ones."""
    with suppress(ImportError):
        import resource

        most = psutil.Process().memory_info().vms + 3 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def answer(use: Callable[[Path], Report], prepare: Callable[[], object] | None = None) -> None:
    """Answer each path on standard input with a report; whatever else is printed is noise."""
    import faulthandler

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)
    if prepare is not None:
        prepare()
    limit_address_space()
    print("{}", file=replies, flush=True)
    for line in sys.stdin:
        path = Path(json.loads(line))
        report = use(path)
        report["open"] = open_files(path)
        print(json.dumps(report), file=replies, flush=True)


def load_model() -> None:
    """What the first prediction needs."""
    from napari_zoommil.jobs.loading import loaded

    with loaded("demo", "cpu"):
        pass


if __name__ == "__main__":
    predicting = "--reader" not in sys.argv
    answer(partial(use, predicting=predicting), load_model if predicting else None)
