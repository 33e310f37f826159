"""Common parts of the fine-tuning of cell models and of MIL models: points, result and provenance."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import AnnotationError
from napari_zoommil.model_folder import Kind
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.training.cells.module import CellRecipe
    from napari_zoommil.training.mil.points import PointRecipe

LossName = Literal["ece", "ece-margin", "ce", "weighted-ce", "focal"]
PresetName = Literal["interactive", "paper"]


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuned model and its metrics.

    Attributes
    ----------
    model : Path
        Its folder, with ``run.json`` (settings and provenance), ``curves.csv`` and the weights.
    classes : tuple of CellClass
    points : dict of str to int
        Number of points on the slide by class, with the held-out ones.
    windows, held_out : int
        For a cell model.
    metrics : dict of str to float
        Before (``before_*``) and after. For a cell model: the threshold, and metrics on the held-out
        windows, if there are any. For a MIL model: the share of the attention on patches with points, by
        magnification, and the slide's probabilities.
    seconds : float
    kind : {"cells", "mil"}
    patches : int
        For a MIL model: number of training patches of all magnifications.
    off_slide : int
        Points outside the slide, which were left out.
    """

    model: Path
    classes: tuple[CellClass, ...]
    points: dict[str, int]
    windows: int
    held_out: int
    metrics: dict[str, float]
    seconds: float
    kind: Kind = "cells"
    patches: int = 0
    off_slide: int = 0


class SlidePoints(NamedTuple):
    """Annotations without the points outside the slide, and the number of those."""

    points: Points
    off_slide: int


def points_on(slide: Slide, annotations: Path | Points) -> SlidePoints:
    """The points of a slide without those outside it.

    Raises
    ------
    AnnotationError
        If there is none.
    """
    found = within(slide, annotations if isinstance(annotations, Points) else Points.read(annotations))
    if not len(found.points):
        height, width = slide.shape
        where = (
            f"; all {found.off_slide:,} are outside its {width:,} × {height:,} px" if found.off_slide else ""
        )
        raise AnnotationError(f"there are no points on {slide.name} to train on{where}; add a few first")
    return found


def within(slide: Slide, points: Points) -> SlidePoints:
    """The points that are on a slide; the same document if all are."""
    outside = points.outside(slide.shape)
    if not outside.any():
        return SlidePoints(points, 0)
    kept = Points()
    kept.adopt(points.content)
    kept.remove([one for one, out in zip(points.ids, outside, strict=True) if out])
    return SlidePoints(kept, int(outside.sum()))


def provenance(
    slide: Slide, points: Points, model: str, settings: CellRecipe | PointRecipe, **seen: Any
) -> dict[str, Any]:
    """Model, data (``seen``) and settings of a training, without the slide's name, which can identify a
    patient."""
    import torch

    from napari_zoommil import __version__

    return {
        "model": Path(model).name if Path(model).is_dir() else model,
        "slide": slide.fingerprint,
        "annotations": hashlib.sha256(points.to_bytes()).hexdigest()[:16],
        "points": points.counts,
        "complete_regions": len(points.complete),
        **seen,
        "settings": asdict(settings) | {"options": repr(settings.options)},
        "versions": {"napari_zoommil": __version__, "torch": torch.__version__},
    }
