"""``compare``: several cell models on the same region of a slide."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.jobs.detect import Detection, detect
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.model_folder import find_model
from napari_zoommil.slides import Slide


def compare(
    slide: Slide,
    region: NDArray[np.float64],
    models: Sequence[tuple[str, str]],
    device: str = "auto",
    threads: int | None = None,
) -> Job[None]:
    """Find cells with several models in the same region; yields a :class:`Comparand` after each model.

    Parameters
    ----------
    region : (n, 2)
        Polygon, level-0 (y, x).
    models : sequence of (title, model)
    """
    for number, (title, model) in enumerate(models):
        find_model(model, "cells", fetch=False)
        job = detect(slide, model, regions=[region], device=device, threads=threads)
        with closing(job):
            try:
                while True:
                    tiles = next(job)
                    share = tiles.done / max(1, tiles.total)
                    yield Progress(
                        round(100 * (number + share)), 100 * len(models), f"cells {title}: searching"
                    )
            except StopIteration as end:
                found: Detection = end.value
        counting = found.finds.chosen(found.finds.scores >= found.threshold)
        told = Comparand(title, replace(found, finds=counting))
        yield Progress(100 * (number + 1), 100 * len(models), f"cells {title}: {len(counting):,} found", told)


@dataclass(frozen=True)
class Comparand:
    """The detections of one model above its threshold; ``title`` is such as ``before`` or ``after``."""

    title: str
    detection: Detection
