"""What the fine-tunings of cell models and of MIL models share: their result, and what they are made of."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    """A fine-tuned model and how it did.

    Attributes
    ----------
    model : Path
        Its folder, with ``run.json`` (settings and provenance) and ``curves.csv`` beside the weights.
    classes : tuple of CellClass
    points : dict of str to int
        On the slide, by class; the held-out ones are among them.
    windows, held_out : int
        Of a cell model.
    metrics : dict of str to float
        Before (``before_*``) and after. Of a cell model: the score from which a find counts, and figures of
        the held-out windows, where there are any. Of a MIL model: the attention's share on the patches that
        hold points, by magnification, and the slide's probabilities.
    seconds : float
    kind : {"cells", "mil"}
    patches : int
        That a MIL model learnt from, in all magnifications.
    off_slide : int
        Points that lie off the slide, and were left out.
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


@dataclass(frozen=True, eq=False)
class SlidePoints:
    """What a training is told by the annotations of a slide, as far as they lie on it.

    Attributes
    ----------
    points : Points
    off_slide : int
        Points that do not lie on it, and were left out.
    counts : dict of str to int
        Points by class.
    complete : int
        Regions in which every cell is annotated.
    digest : str
        Of the document's bytes, 16 hexadecimal digits.
    fingerprint : str
        Of the slide.
    """

    points: Points
    off_slide: int
    counts: dict[str, int]
    complete: int
    digest: str
    fingerprint: str


def points_on(slide: Slide, annotations: Path | Points) -> SlidePoints:
    """The points of a slide that lie on it: others would make classes of nothing.

    Raises
    ------
    AnnotationError
        If there is none.
    """
    fingerprint = slide.fingerprint
    read = annotations if isinstance(annotations, Points) else Points.read(annotations)
    points, off_slide = within(slide, read)
    if not len(points):
        height, width = slide.shape
        where = f"; all {off_slide:,} lie off its {width:,} × {height:,} px" if off_slide else ""
        raise AnnotationError(f"there are no points on {slide.name} to train on{where}; mark a few first")
    digest = hashlib.sha256(points.to_bytes()).hexdigest()[:16]
    return SlidePoints(points, off_slide, points.counts, len(points.complete), digest, fingerprint)


def within(slide: Slide, points: Points) -> tuple[Points, int]:
    """Those of some points that lie on a slide, and how many do not; a document that has no others is given
    back as it is."""
    outside = points.outside(slide.shape)
    if not outside.any():
        return points, 0
    kept = Points()
    kept.adopt(points.content)
    kept.remove([one for one, out in zip(points.ids, outside, strict=True) if out])
    return kept, int(outside.sum())


def provenance(
    told: SlidePoints, model: str, settings: CellRecipe | PointRecipe, **seen: Any
) -> dict[str, Any]:
    """What a training was made of, and what it has ``seen``; names no slide, for its name can tell who the
    patient is."""
    import torch

    from napari_zoommil import __version__

    return {
        "model": Path(model).name if Path(model).is_dir() else model,
        "slide": told.fingerprint,
        "annotations": told.digest,
        "points": told.counts,
        "complete_regions": told.complete,
        **seen,
        "settings": asdict(settings) | {"options": repr(settings.options)},
        "versions": {"napari_zoommil": __version__, "torch": torch.__version__},
    }
