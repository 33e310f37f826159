"""What a training would train on, found out beside the window: points, windows, settings, device."""

from __future__ import annotations

from collections.abc import Iterator
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
class Lookout:
    """What points tell a MIL model.

    Attributes
    ----------
    magnifications : tuple of float
        In which patches that hold points are learnt from.
    class_names : tuple of str
        Of the model.
    named : tuple of str
        Those of them that points are named like.
    classes : tuple of str
        Whose points are learnt from; none as long as it must be said what the slide is.
    points : int
        Of these classes.
    label : str or None
        What the slide is taken to be; None where its prediction is held, and as long as it must be said.
    """

    magnifications: tuple[float, ...]
    class_names: tuple[str, ...]
    named: tuple[str, ...]
    classes: tuple[str, ...] = ()
    points: int = 0
    label: str | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """What the slide may be said to be; nothing where its points tell."""
        return () if len(self.named) == 1 else self.named or self.class_names

    @property
    def unsaid(self) -> bool:
        """Whether it must be said what the slide is."""
        return len(self.named) > 1 and self.label is None


@dataclass(frozen=True)
class TrainingSet:
    """What there is to train on, and how it would be trained.

    Attributes
    ----------
    path : Path
        Where annotations are written to.
    stamp : Stamp or None
        Of that file when it was looked at; None where there is none yet.
    counts : tuple of (CellClass, int)
        Classes that have points on the slide, with how many.
    off_slide : int
        Points that lie off it, and are left out.
    complete : int
        Regions in which every cell is annotated.
    runs : tuple of TrainingRun
        Of the slide, that are cut off or not decided on.
    kept : tuple of Path
    model : str
        What would be taught.
    windows, held_out : int or None
        Of a cell model; None as long as it is not known.
    lookout : Lookout or None
        Of a MIL model; None as long as it is not known.
    epochs, learning_rate
        Of the preset.
    device : str
        Where it would run, and why.
    problem : str
        What must be mended first.
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
    lookout: Lookout | None = None
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
) -> Iterator[TrainingSet]:
    """First what the annotations tell at once, then what is known with the model at hand.

    The second may take seconds, for it loads what a training needs; the press is the quicker for it. Of a
    MIL model, ``label`` says what the slide is, where its points leave that open. Where the slide's
    ``annotations`` are at hand they are not read from their file.
    """
    path, current = annotations_path(slide), current_path(slide)
    stamp = stamp_of(path)
    found = TrainingSet(path, stamp, runs=undecided(slide), kept=kept(slide), model=model)
    points = Points()
    try:
        if annotations is not None:
            points.adopt(annotations)
        elif current.exists():
            points = Points.read(current)
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
    return replace(
        found,
        lookout=look_out(points, spec.magnifications, spec.class_names, label) if len(points) else None,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        device=f"{chosen.torch} ({chosen.reason})",
    )


def look_out(
    points: Points, magnifications: tuple[float, ...], class_names: tuple[str, ...], label: str | None
) -> Lookout:
    """What points tell a MIL model; a ``label`` counts only where they leave it open."""
    from napari_zoommil.training.mil.targets import classes_named, marks_of

    used = set(classes_named(points, class_names).values())
    told = Lookout(magnifications, class_names, tuple(name for name in class_names if name in used))
    label = label if label in told.choices else None
    if len(told.named) > 1 and label is None:
        return told
    marks = marks_of(points, class_names, label)
    return replace(told, classes=marks.classes, points=len(marks.coordinates), label=marks.label)


def _framing(model: str, crop: int) -> Framing:
    """Reads the model, which is kept for the press."""
    from napari_zoommil.encoders.device import choose_device
    from napari_zoommil.training.cells.framing import Framing

    with cell_model_on(choose_device("cpu"), model) as (network, spec):
        return Framing.of(network, spec.mpp, crop)
