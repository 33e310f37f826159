"""Reasons of a training's choices, from its cohort and its patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_zoommil.geometry import NATIVE, magnification_name
from napari_zoommil.jobs.train_choices import FIXED, OPTIONS, SETTINGS, Asked, Choice, Choices
from napari_zoommil.models.registry import OF_IMAGES, Entry, Recipe, Takes
from napari_zoommil.models.task import Classification, Task
from napari_zoommil.training.mil.cohort import Cohort, counts
from napari_zoommil.training.mil.cohort_faults import SPLITS
from napari_zoommil.training.mil.labelled_slide import LabelledSlide

if TYPE_CHECKING:
    from napari_zoommil.jobs.cohort_bags import Reading
    from napari_zoommil.jobs.train_start import Chosen

FEW, MANY = 0.01, 0.5
"""Shares of the patches of the lowest magnification that a slide is zoomed into which are worth a word."""

OF_RECIPE, THE_MODELS = "of the recipe ", "the model's default"
"""Reasons of what nobody chose."""

Z = 1.96
"""Half width of a 95 % interval, in standard deviations."""


def is_default(choice: Choice) -> bool:
    """Whether a choice is no more than a default."""
    own = choice.reason.removeprefix(OF_RECIPE)
    return choice.reason == THE_MODELS or (own != choice.reason and not {";", ",", " "} & set(own))


def of_cohort(
    asked: Asked,
    cohort: Cohort,
    divided: Sequence[LabelledSlide],
    folds: int | None,
    task: Task,
    shares: Sequence[float],
) -> Choices:
    """Task and division.

    Parameters
    ----------
    asked : Asked
    cohort : Cohort
    divided : sequence of LabelledSlide
        With their splits, where there are no folds.
    folds : int, optional
    task : Task
    shares : (float, float, float)
        Of the groups that train, validate and test, where the table does not state them.
    """
    kind = "classification" if isinstance(task, Classification) else "regression"
    learnt = _of_labels(cohort.entries, task)
    why = learnt if asked.task in (None, "auto") else f"{asked.because('task', '')}; {learnt}"
    choices = [
        Choice("task", kind, why),
        Choice("folds", folds, _of_division(asked, cohort, divided, folds, shares)),
    ]
    if not isinstance(task, Classification):
        choices.insert(1, Choice("unit", task.unit, asked.because("unit", "nobody said one")))
    return tuple(choices)


def _of_labels(entries: Sequence[LabelledSlide], task: Task) -> str:
    if isinstance(task, Classification):
        numbers = counts(entries, "label")
        told = ", ".join(f"{name} {numbers.get(name, 0):,}" for name in task.names[:12])
        more = f" and {len(task.names) - 12} more" if len(task.names) > 12 else ""
        return f"labels name {len(task.names)} classes: {told}{more}"
    values = [float(entry.label) for entry in entries]
    return f"labels are numbers from {min(values):g} to {max(values):g}"


def _of_division(
    asked: Asked,
    cohort: Cohort,
    divided: Sequence[LabelledSlide],
    folds: int | None,
    shares: Sequence[float],
) -> str:
    groups = {entry.group for entry in cohort.entries}
    notes = "".join(f"; {note}" for note in cohort.notes)
    by = f"by group, {len(groups):,} of {len(cohort):,} slides"
    if len(groups) == len(cohort):
        by = "by slide; patients with several slides need a column group"
    if folds:
        why = asked.because("folds", "the table states them") if asked.folds else "the table states them"
        return f"{why}; divided {by}; each slide is held out once{notes}"
    numbers = counts(divided)
    told = ", ".join(f"{numbers.get(split, 0):,} {split}" for split in SPLITS)
    free = sum(not entry.split for entry in cohort.entries)
    if not free:
        return f"the table states splits: {told} slides{notes}"
    if free < len(cohort):
        return (
            f"the table states which slides test; the others are divided at random {by}: {told} slides{notes}"
        )
    tested = numbers.get("test", 0)
    known = (
        f", on which an accuracy is known to ± {Z * np.sqrt(0.25 / tested):.2f} at worst" if tested else ""
    )
    parts = "/".join(f"{100 * share:g}" for share in shares)
    return (
        f"divided at random {parts} {by}: {told} slides{known}; folds measure on all {len(cohort):,}{notes}"
    )


def of_reading(
    asked: Asked,
    chosen: Chosen,
    reading: Reading,
    recipe: str,
    source: str,
    coarsest: float | None,
    lowered: bool,
    takes: Takes = "bag",
    unstated: str = "",
) -> Choices:
    """Model, encoder, magnifications, patches.

    Parameters
    ----------
    source : str
        What all else comes from, as a reason, such as a model to start from; empty for nothing.
    coarsest : float, optional
        Largest pixel size of the slides, µm/px; None if it is not known.
    lowered : bool
        Whether the magnifications are lower than those of the recipe because of it.
    takes : {"bag", "pixels", "image"}
        What the model reads.
    unstated : str
        What to know of feature files that do not state their encoder.
    """
    default = source or "the default"
    highest = magnification_name(reading.magnifications[-1])
    fit = f"; the coarsest slide has {coarsest:.3g} µm/px" if coarsest else ""
    why = source or f"of the recipe {recipe}"
    if reading.magnifications == (NATIVE,):
        why = "no image states the size of its pixels, so they are read as they are"
        fit = f"; the coarsest image has {coarsest:.3g} µm/px" if coarsest else ""
    elif lowered:
        why, fit = f"those of the recipe {recipe}, lowered to {highest}", fit + ", too coarse for more"
    named = "; ".join(filter(None, (asked.because("encoder", default), unstated)))
    return (
        Choice("model", chosen.model, asked.because("model", default)),
        Choice("recipe", recipe, asked.because("recipe", "the default")),
        *((Choice("start", asked.start, asked.because("start", "")),) if asked.start else ()),
        *((Choice("encoder", chosen.encoder, named),) if takes == "bag" else ()),
        Choice("magnifications", list(reading.magnifications), asked.because("magnifications", why) + fit),
        *_of_patches(asked, chosen, reading, default, source or f"{OF_RECIPE}{recipe}", takes),
    )


def _of_patches(
    asked: Asked, chosen: Chosen, reading: Reading, default: str, otherwise: str, takes: Takes
) -> Choices:
    if takes == "image":
        return ()
    return (
        Choice("patch_size", chosen.patch_size, asked.because("patch_size", default)),
        *(
            Choice(name, getattr(reading, name), asked.because(name, otherwise))
            for name in ("min_tissue", "tissue_detector")
        ),
    )


def of_settings(
    asked: Asked,
    recipe: Recipe,
    name: str,
    task: Task,
    divided: Sequence[LabelledSlide],
    takes: Takes = "bag",
) -> Choices:
    """Each setting of a recipe."""
    trained = [entry for entry in divided if entry.split == "train"]
    validated = sum(entry.split == "val" for entry in divided)
    moved = f", each of which moves F1 by about {1 / max(1, validated):.2f}" if "f1" in recipe.monitor else ""
    notes = {
        "epochs": f"{len(trained):,} slides a pass, {recipe.epochs * len(trained):,} slides at most",
        "monitor": f"of {validated:,} validation slides{moved}",
        "weighted": _balance(trained, task, recipe.weighted),
        "stop_after": "trains all epochs, and keeps the best" if recipe.stop_after is None else "",
    }
    found = []
    for one in fields(Recipe):
        if one.name in FIXED or (one.name in OF_IMAGES and takes != "image"):
            continue
        full = SETTINGS + one.name
        reason = asked.because(full, f"{OF_RECIPE}{name}")
        note = notes.get(one.name, "")
        found.append(Choice(full, _plain(getattr(recipe, one.name)), f"{reason}; {note}" if note else reason))
    return tuple(found)


def _balance(trained: Sequence[LabelledSlide], task: Task, weighted: bool) -> str:
    if not isinstance(task, Classification) or not trained:
        return "there are no classes to balance"
    numbers = counts(trained, "label")
    (least, few), *_ = ordered = sorted(numbers.items(), key=itemgetter(1))
    most, many = ordered[-1]
    told = f"{many:,} slides of {most}, {few:,} of {least}" if few < many else f"{few:,} slides of each class"
    return f"{told}; {'drawn equally often' if weighted else 'drawn as often as there are'}"


def of_options(asked: Asked, entry: Entry, recipe: Recipe, built: Mapping[str, Any], name: str) -> Choices:
    """Each option of the model."""
    options = entry.options(built)
    notes = _of_views(entry.variants(built)) if hasattr(options, "views") else {}
    found = []
    for one in fields(options):
        full = OPTIONS + one.name
        otherwise = f"{OF_RECIPE}{name}" if one.name in recipe.options else THE_MODELS
        reason = "; ".join((asked.because(full, otherwise), *notes.get(one.name, ())))
        found.append(Choice(full, _plain(getattr(options, one.name)), reason))
    return tuple(found)


def _of_views(variants: int) -> dict[str, tuple[str, ...]]:
    """What the number of views costs."""
    if variants == 1:
        return {"views": ("patches are encoded once and not turned, only their places are",)}
    cost = f"{variants} rotations and flips of each patch are encoded, {variants} times the time and the disk"
    return {"views": (f"{cost}; 1 costs one time",)}


def of_patches(choices: Choices, patches: Mapping[float, Sequence[int]]) -> Iterator[Choice]:
    """Choices whose reason is told anew when the patches of the slides are counted.

    Parameters
    ----------
    patches : mapping of float to sequence of int
        Patches of each slide, by magnification.
    """
    chosen = next((one for one in choices if one.name == f"{OPTIONS}k"), None)
    if chosen is None:
        return
    k = chosen.value[0] if isinstance(chosen.value, list) else chosen.value
    lowest = min(patches)
    median = int(np.median(patches[lowest]))
    share = min(1.0, k / max(1, median))
    told = f"{share:.0%} of the {median:,} patches of a slide of median size at {magnification_name(lowest)}"
    if share > MANY:
        told += ", which leaves little out: a smaller k reads less"
    elif share < FEW:
        told += ": a small lesion is easily passed over, and a larger k is slower"
    yield Choice(chosen.name, chosen.value, f"{chosen.reason}; {told}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
