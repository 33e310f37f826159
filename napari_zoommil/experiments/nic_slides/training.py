"""A trial: four CNNs by the job ``train``, each tested on the slides of its own partition, and its maps."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from napari_zoommil.experiments.nic_slides.codes import HOME, MAGNIFICATION, encoder_name
from napari_zoommil.experiments.nic_slides.maps import explained
from napari_zoommil.experiments.nic_slides.slides import (
    CLASSES,
    SUBSETS,
    HeldSlide,
    slides_of,
    task_of,
    write_folds,
    write_partition,
)
from napari_zoommil.experiments.nic_slides.trials import Extent, Trial, default_code
from napari_zoommil.experiments.run_pieces import shares_of, within
from napari_zoommil.experiments.zoom_maps.numbers import outline_beside
from napari_zoommil.files import make_folder
from napari_zoommil.jobs import train
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.synthetic.nuclei import UM_PER_PX
from napari_zoommil.training.mil.held_out import Answers, report
from napari_zoommil.training.mil.table import read_table
from napari_zoommil.training.run import FOLDS, PREDICTIONS

METRIC = {"presence": "AUROC", "share": "spearman"}
SIZES = 4
"""Groups of lesions of equally many slides (Fig. 8)."""

TRAINED = 0.8
"""Share of a piece, for progress, at the end of the trainings."""


class Told(NamedTuple):
    """What a CNN says of a slide that it has not seen.

    Attributes
    ----------
    held : HeldSlide
    value : float
        Probability of a tumour, or its share in percent.
    model : Path
    """

    held: HeldSlide
    value: float
    model: Path


def train_one(
    trial: Trial, extent: Extent, seed: int, out: Path, examples: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Run a trial on compressed slides.

    Parameters
    ----------
    trial : Trial
    extent : Extent
    seed : int
        Of the weights and the order of slides; of the class, of the part of the slides that trains; of the
        number, of those that validate.
    out : Path
        Folder of cohort, features, encoders and trainings.
    examples : Path
        Where maps of some slides are written, as NPZ, if they are explained.
    device : str

    Returns
    -------
    dict
        ``all``, ``test`` and ``macro``: the metric with its interval over slides; ``sizes``: radius of the
        lesions and mean probability; ``values``: what is told of each slide of the partitions, and what is
        true; ``maps`` of :func:`explained`; ``seconds``.
    """
    started = time.perf_counter()
    folder = out / HOME / "trainings" / f"{trial.name.replace('/', '_')}_{seed}"
    told = yield from within(_told(trial, extent, seed, out, folder, device), 0, TRAINED)
    held_out = sorted((one for one in told if one.held.fold), key=lambda one: one.held.slide.name)
    result = _scores(trial, told, seed)
    result["values"] = {one.held.slide.name: [one.value, _truth(trial, one)] for one in held_out}
    if trial.task == "presence":
        result["sizes"] = _by_size(held_out, out, extent)
    if trial.code == default_code(trial.code.encoder) and trial.region == trial.share == 1:
        chosen = [(one.held, one.model) for one in held_out]
        job = explained(chosen, trial, extent, out, examples, device)
        result["maps"] = yield from within(job, TRAINED, 1)
    return {**result, "slides": len(told), "seconds": time.perf_counter() - started}


def _told(
    trial: Trial, extent: Extent, seed: int, out: Path, folder: Path, device: str
) -> Generator[float, None, list[Told]]:
    """All held-out slides, each told by the CNN of its partition; test slides of the number by all CNNs."""
    cohort = out / extent.cohort.folder
    if trial.task == "share":
        table = write_folds(extent, trial.task, cohort)
        yield from _trained(table, trial, extent, seed, out, folder, device, extent.folds)
        return _read(table, trial, extent, folder)
    found: list[Told] = []
    for fold in range(1, extent.folds + 1):
        table = write_partition(extent, trial, fold, seed, cohort)
        own = make_folder(folder) / str(fold)
        job = _trained(table, trial, extent, seed, out, own, device, None)
        yield from within(job, (fold - 1) / extent.folds, fold / extent.folds)
        found += _read(table, trial, extent, own)
    return found


def _trained(
    table: Path, trial: Trial, extent: Extent, seed: int, out: Path, folder: Path, device: str,
    folds: int | None,
) -> Generator[float, None, Any]:  # fmt: skip
    job = train(
        table,
        "nic",
        store=out / "features",
        out=folder,
        encoder=encoder_name(out, trial.code),
        options=extent.options_of(trial),
        recipe=extent.recipes[trial.task],
        settings=extent.settings,
        folds=folds,
        task="classification" if trial.task == "presence" else "regression",
        unit=None if trial.task == "presence" else "%",
        magnifications=(MAGNIFICATION,),
        patch_size=trial.code.stride,
        min_tissue=extent.min_tissue,
        tissue_detector=DEFAULT,
        seed=seed,
        device=device,
        resume=True,
    )
    return (yield from shares_of(job))


def _read(table: Path, trial: Trial, extent: Extent, folder: Path) -> list[Told]:
    """The predictions of held-out slides; those to validate on are none."""
    slides = {one.line: one["slide"] for one in read_table(table, ("slide",))}
    rows = {one.slide.name: one for one in slides_of(extent, trial.task)}
    column = f"probability_{CLASSES[1]}" if trial.task == "presence" else "value"
    found = []
    for one in read_table(folder / PREDICTIONS, ("split", "line", column)):
        part = one["split"].removeprefix("fold ")
        if part != "val":
            model = folder / FOLDS / part if part != "test" else folder
            found.append(Told(rows[slides[int(one["line"])]], float(one[column]), model))
    return found


def _scores(trial: Trial, told: Sequence[Told], seed: int) -> dict[str, Any]:
    """The metric of all slides of the partitions, and of the subsets."""
    metric, found = METRIC[trial.task], {}
    for name in ("all", *SUBSETS[trial.task]):
        own = [one for one in told if (bool(one.held.fold) if name == "all" else name in one.held.subsets)]
        if own:
            measured = report(task_of(trial.task), _answers(trial, own), seed)["per_slide"]["metrics"]
            found[name] = measured.get(metric)
    return found


def _answers(trial: Trial, told: Sequence[Told]) -> Answers:
    values = np.array([[one.value] for one in told])
    if trial.task == "presence":
        values = np.concatenate([1 - values, values], 1)
    targets = np.array([_truth(trial, one) for one in told])
    return Answers(tuple(one.held.slide.name for one in told), targets, values)


def _truth(trial: Trial, told: Told) -> float:
    return float(told.held.slide.drawing.tumour) if trial.task == "presence" else told.held.percent


def _by_size(told: Sequence[Told], out: Path, extent: Extent) -> list[dict[str, float]]:
    """Mean radius of the lesions, mm, and mean probability, of groups of slides; radius 0 without a tumour.

    The radius is that of a circle of the area of all tumour of a slide, as in the paper.
    """
    sizes = []
    for one in told:
        outline = outline_beside(out / extent.cohort.folder / one.held.slide.name)
        area = shapely.union_all(outline).area if one.held.slide.drawing.tumour else 0.0
        sizes.append((float(np.sqrt(area / np.pi) * UM_PER_PX / 1000), one.value))
    lesions = np.array(sorted(one for one in sizes if one[0])).reshape(-1, 2)
    groups = [np.array([one for one in sizes if not one[0]]), *np.array_split(lesions, SIZES)]
    means = [own.mean(0).tolist() for own in groups if len(own)]
    return [{"radius": radius, "probability": probability} for radius, probability in means]
