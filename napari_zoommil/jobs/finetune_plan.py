"""Plan of a fine-tuning, shown before it starts: points, windows, settings, device."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.annotations import CellClass, Points, annotations_path, current_path
from napari_zoommil.annotations.geojson import Content
from napari_zoommil.errors import ZoomMILError
from napari_zoommil.files import Stamp, stamp_of
from napari_zoommil.jobs.finetune_runs import TrainingRun, kept, undecided
from napari_zoommil.jobs.finetuning import within
from napari_zoommil.jobs.loading import cell_model_on
from napari_zoommil.model_folder import kind_of
from napari_zoommil.models.spec import read_spec
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from napari_zoommil.training.cells.framing import Framing


@dataclass(frozen=True)
class MILPoints:
    """The points of a slide as a MIL model uses them for training.

    Attributes
    ----------
    magnifications : tuple of float
        Magnifications whose patches with points are training patches.
    class_names : tuple of str
        Classes of the model.
    named : tuple of str
        Those of them that are also classes of points.
    classes : tuple of str
        Classes of the training points; empty if a label is needed first.
    points : int
        Number of training points.
    label : str or None
        Class of the slide; None if its prediction is the target, or if a label is needed first.
    """

    magnifications: tuple[float, ...]
    class_names: tuple[str, ...]
    named: tuple[str, ...]
    classes: tuple[str, ...] = ()
    points: int = 0
    label: str | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """Possible labels of the slide; empty if its points determine the label."""
        return () if len(self.named) == 1 else self.named or self.class_names

    @property
    def needs_label(self) -> bool:
        """Whether the user has to state the class of the slide."""
        return len(self.named) > 1 and self.label is None


@dataclass(frozen=True)
class TrainingSet:
    """The data and the settings of a fine-tuning.

    Attributes
    ----------
    path : Path
        File to which annotations are saved.
    stamp : Stamp or None
        Stamp of that file when it was read; None if it does not exist yet.
    counts : tuple of (CellClass, int)
        Classes with points on the slide, and the numbers of points.
    off_slide : int
        Points outside the slide, which are left out.
    complete : int
        Number of complete regions.
    runs : tuple of TrainingRun
        Interrupted and undecided runs of the slide.
    kept : tuple of Path
        Kept models of the slide.
    model : str
        The model to fine-tune.
    windows, held_out : int or None
        For a cell model; None if not known yet.
    mil_points : MILPoints or None
        For a MIL model; None if not known yet.
    epochs, learning_rate
        Settings of the preset.
    device : str
        The device and the reason for its choice.
    problem : str
        What the user has to correct first.
    """

    path: Path
    stamp: Stamp | None
    counts: tuple[tuple[CellClass, int], ...] = ()
    off_slide: int = 0
    complete: int = 0
    runs: tuple[TrainingRun, ...] = ()
    kept: tuple[Path, ...] = ()
    model: str = ""
    windows: int | None = None
    held_out: int | None = None
    mil_points: MILPoints | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    device: str = ""
    problem: str = ""


def look(
    slide: Slide,
    model: str,
    preset: str,
    device: str,
    label: str | None = None,
    annotations: Content | None = None,
) -> Generator[TrainingSet, None, None]:
    """Yields the training set twice: first without, then with the properties that depend on the model.

    The second may take seconds, because it loads the model; the training then starts faster. For a MIL
    model, ``label`` is the class of the slide, used if its points do not determine it. ``annotations`` are
    those of the slide, if they are in memory; else they are read from their file.
    """
    path, current = annotations_path(slide), current_path(slide)
    stamp = stamp_of(path)
    found = TrainingSet(path, stamp, runs=undecided(slide), kept=kept(slide), model=model)
    points = Points()
    try:
        if annotations is not None:
            points.adopt(annotations)
        elif current.exists():
            points = Points.read(current, origin=slide.origin)
    except ZoomMILError as error:
        yield replace(found, problem=str(error))
        return
    points, off_slide = within(slide, points)
    counts = tuple((one, points.counts[one.name]) for one in points.classes if points.counts[one.name])
    found = replace(found, counts=counts, off_slide=off_slide, complete=len(points.complete))
    yield found
    if not model:
        return
    try:
        if kind_of(model) == "mil":
            yield _with_mil_model(found, points, model, preset, device, label)
        else:
            yield _with_model(found, points, slide, model, preset, device)
    except ZoomMILError as error:
        yield replace(found, problem=str(error))


def _with_model(
    found: TrainingSet, points: Points, slide: Slide, model: str, preset: str, device: str
) -> TrainingSet:
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.training.cells.presets import PRESETS

    chosen, settings = choose_device(device), PRESETS[preset]
    plan = _framing(model, settings.crop).plan(points, slide)
    return replace(
        found,
        windows=len(plan),
        held_out=plan.held_out,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        device=f"{chosen.torch} ({chosen.reason})",
    )


def _with_mil_model(
    found: TrainingSet, points: Points, model: str, preset: str, device: str, label: str | None
) -> TrainingSet:
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.training.mil.points import point_recipe

    chosen, settings = choose_device(device), point_recipe(preset)
    spec = read_spec(model)
    used = points_for_mil(points, spec.magnifications, spec.class_names, label) if len(points) else None
    return replace(
        found,
        mil_points=used,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        device=f"{chosen.torch} ({chosen.reason})",
    )


def points_for_mil(
    points: Points, magnifications: tuple[float, ...], class_names: tuple[str, ...], label: str | None
) -> MILPoints:
    """The points as a MIL model uses them; ``label`` is used only if they do not determine the label."""
    from napari_zoommil.training.mil.targets import classes_named, marks_of

    used = set(classes_named(points, class_names).values())
    told = MILPoints(magnifications, class_names, tuple(name for name in class_names if name in used))
    label = label if label in told.choices else None
    if len(told.named) > 1 and label is None:
        return told
    marks = marks_of(points, class_names, label)
    return replace(told, classes=marks.classes, points=len(marks.coordinates), label=marks.label)


def _framing(model: str, crop: int) -> Framing:
    """Framing of a cell model; the model stays in memory for the training."""
    from napari_zoommil.cells.model import trainable
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.training.cells.framing import Framing

    with cell_model_on(choose_device("cpu"), model) as (network, spec):
        return Framing.of(trainable(network, model), spec.mpp, crop)
