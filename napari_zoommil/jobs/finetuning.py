"""Common parts of the fine-tuning of cell models and of MIL models: points, result and provenance."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.errors import AnnotationError
from napari_zoommil.model_folder import Kind
from napari_zoommil.slides import Slide
from napari_zoommil.training.run import RunFolder, provenance_of

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
    trained_before : bool
        Whether it was finished, and nothing was left to do.
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
    trained_before: bool = False


@dataclass(frozen=True, eq=False)
class SlidePoints:
    """The annotations of a slide that a fine-tuning uses: those that are on the slide.

    Attributes
    ----------
    points : Points
    off_slide : int
        Number of points outside the slide, which are left out.
    counts : dict of str to int
        Number of points per class.
    complete : int
        Number of regions in which every cell is annotated.
    digest : str
        Hash of the document's bytes, 16 hexadecimal digits.
    fingerprint : str
        Fingerprint of the slide.
    """

    points: Points
    off_slide: int
    counts: dict[str, int]
    complete: int
    digest: str
    fingerprint: str


def points_on(slide: Slide, annotations: Path | Points) -> SlidePoints:
    """The points of a slide without those outside it.

    Raises
    ------
    AnnotationError
        If there is none.
    """
    fingerprint = slide.fingerprint
    if isinstance(annotations, Points):
        name, read = slide.name, annotations.placed(slide.origin)
    else:
        name, read = annotations.name, Points.read(annotations, origin=slide.origin)
    if read.faults:
        warnings.warn(f"{name}: {read.faults}", stacklevel=2)
    points, off_slide = within(slide, read)
    if not len(points):
        height, width = slide.shape
        where = f"; all {off_slide:,} are outside its {width:,} × {height:,} px" if off_slide else ""
        raise AnnotationError(f"there are no points on {slide.name} to train on{where}; add a few first")
    digest = hashlib.sha256(points.to_bytes()).hexdigest()[:16]
    return SlidePoints(points, off_slide, points.counts, len(points.complete), digest, fingerprint)


def within(slide: Slide, points: Points) -> tuple[Points, int]:
    """The points that are on a slide, and the number of those that are not; the same document if all are."""
    outside = points.outside(slide.shape)
    if not outside.any():
        return points, 0
    kept = Points()
    kept.adopt(points.content)
    kept.remove([one for one, out in zip(points.ids, outside, strict=True) if out])
    return kept, int(outside.sum())


def trained_before_in(
    out: Path,
    told: SlidePoints,
    model: str,
    settings: CellRecipe | PointRecipe,
    classes: tuple[CellClass, ...],
    counts: dict[str, int],
    **asked: Any,
) -> FineTuning:
    """The result of a fine-tuning that is finished; nothing of it is done again.

    Parameters
    ----------
    classes, counts
        What it teaches, and its points, as the result tells them.
    asked
        What else its provenance states, but for numbers of windows and patches, which follow from the rest.

    Raises
    ------
    ModelError
        If it is of other data, settings or model.
    """
    known = provenance_of(out)
    seen = {name: known[name] for name in ("windows", "held_out", "patches") if name in known}
    metrics = RunFolder(out, provenance(told, model, settings, **seen, **asked)).finished()
    windows, held_out = (seen.get(name, 0) for name in ("windows", "held_out"))
    return FineTuning(
        out,
        classes,
        counts,
        windows + held_out,
        held_out,
        metrics,
        seconds=0.0,
        kind="mil" if "patches" in seen else "cells",
        patches=seen.get("patches", 0),
        off_slide=told.off_slide,
        trained_before=True,
    )


def provenance(
    told: SlidePoints, model: str, settings: CellRecipe | PointRecipe, **seen: Any
) -> dict[str, Any]:
    """Model, data (``seen``) and settings of a training, without the slide's name, which can identify a
    patient."""
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
