"""The trainings of the experiments ``zoom-*``, and what they need: a cohort and its features."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.bags import FeatureCache, StoredBag
from napari_zoommil.encoders.device import choose_device
from napari_zoommil.experiments.pieces import Pieces, select
from napari_zoommil.experiments.side_by_side import Tell, processes, side_by_side
from napari_zoommil.experiments.zooming.cohort import TABLE, made
from napari_zoommil.experiments.zooming.units import Extent, Unit, names
from napari_zoommil.files import read_file
from napari_zoommil.jobs import Job, Progress, embed, run, train
from napari_zoommil.jobs.embed import Embedding
from napari_zoommil.jobs.progress import retold
from napari_zoommil.jobs.train_familiarity import rows_read
from napari_zoommil.models.spec import load_model
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.training.mil.cohort import LabelledSlide, read_cohort
from napari_zoommil.training.mil.table import read_table
from napari_zoommil.training.run import CHECKPOINT, CURVES, REPORT, is_trained

METRICS = ("weighted F1", "AUROC", "accuracy")


@dataclass(frozen=True)
class Bench:
    """A cohort with its features, and the trainings on it.

    Attributes
    ----------
    out : Path
        Folder of cohort, features and trainings; experiments with the same folder share them.
    table : Path
        Table of the cohort.
    extent : Extent
    device : str
    """

    out: Path
    table: Path
    extent: Extent
    device: str

    @property
    def store(self) -> Path:
        return self.out / "features"

    @property
    def data(self) -> str:
        """Hash of the table."""
        return hashlib.sha256(read_file(self.table)).hexdigest()[:16]

    def folder(self, unit: Unit, seed: int) -> Path:
        """Folder of a model."""
        return self.out / "trainings" / f"{unit.name}_{seed}"

    def slides(self, split: str) -> list[LabelledSlide]:
        return [one for one in read_cohort(self.table) if one.split == split]

    def bag(self, slide: Path, encoder: str, magnifications: tuple[float, ...]) -> StoredBag:
        """The stored features of a slide."""
        return run(self.embedding(slide, encoder, magnifications)).bag(FeatureCache(self.store))

    def embedding(self, slide: Path, encoder: str, magnifications: tuple[float, ...]) -> Job[Embedding]:
        """Store the features of a slide."""
        return embed(
            slide,
            encoder,
            magnifications=magnifications,
            store=self.store,
            patch_size=self.extent.patch_size,
            device=self.device,
            **TISSUE,
        )

    def pieces(self, units: Sequence[Unit]) -> Pieces:
        """The results of trainings."""
        data = self.data
        made_with = {
            name: {**self.extent.described(unit), "seed": int(name.rpartition("/")[2]), "cohort": data}
            for unit in units
            for name in names([unit], self.extent)
        }
        return Pieces(self.out / "trainings", made_with)


TISSUE: dict[str, Any] = {"min_tissue": 0.1, "tissue_detector": DEFAULT}
"""How patches are chosen on all slides: the published detector of the recipe would add empty glass."""

Features = tuple[str, tuple[float, ...]]
"""An encoder, and the magnifications that are read together."""


def prepared(
    out: Path, extent: Extent, data: Path | None, features: Iterable[Features], device: str
) -> Job[Bench]:
    """A bench with all slides drawn and features stored."""
    if data is not None:
        read_table(data / TABLE, ("slide", "label", "split"))  # random splits would differ from seed to seed
        table = data / TABLE
    else:
        table = yield from made(extent.cohort, out / extent.cohort.folder)
    bench = Bench(out, table, extent, device)
    slides = [one.slide for one in read_cohort(table)]
    for encoder, magnifications in features:
        for number, slide in enumerate(slides, 1):
            title = f"{encoder}, slide {number} of {len(slides)}: "
            job = bench.embedding(slide, encoder, magnifications)
            yield from retold(job, lambda told, title=title: replace(told, note=title + told.note))  # type: ignore[misc]
    return bench


def trained(
    out: Path, extent: Extent, data: Path | None, units: Sequence[Unit], only: Sequence[str], device: str
) -> Job[tuple[Bench, dict[str, dict[str, Any]]]]:
    """Train each chosen unit without a result.

    Returns
    -------
    Bench, dict of str to dict
        Results of all trainings with these settings and data, by their names.

    Raises
    ------
    CohortError
        If the cohort cannot be read, or has no column ``split``.
    JobError
        If ``only`` matches no training, or a result in the folder has other settings or data.
    """
    chosen = select(names(units, extent), only)
    by_name = {f"{unit.name}/{seed}": (unit, seed) for unit in units for seed in extent.seeds}
    # The magnifications that are read together first: single ones have hardly a patch that they lack.
    read = {
        (unit.encoder or extent.encoder, unit.magnifications) for unit, _ in map(by_name.__getitem__, chosen)
    }
    features = sorted(read, key=lambda one: (one[0], -len(one[1]), one[1]))
    bench = yield from prepared(out, extent, data, features, device)
    pieces = bench.pieces(units)
    missing = {name: (*by_name[name], bench, pieces) for name in chosen if not pieces.has(name)}
    yield from _train_all(missing, device)
    return bench, pieces.all()


def _train_all(missing: dict[str, tuple[Unit, int, Bench, Pieces]], device: str) -> Job[None]:
    count = min(processes(choose_device(device).torch), len(missing))
    if count > 1:
        with closing(side_by_side(_train_one, missing, count)) as standings:
            for now in standings:
                note = f"{now.share:.1%} of {len(missing)} trainings: {', '.join(now.running)}"
                yield Progress(round(1000 * now.share), 1000, note)
        return
    for number, (name, task) in enumerate(missing.items(), 1):
        title = f"{name}, {number} of {len(missing)}: "
        yield from retold(train_one(*task), lambda told, title=title: replace(told, note=title + told.note))  # type: ignore[misc]


def _train_one(unit: Unit, seed: int, bench: Bench, pieces: Pieces, tell: Tell) -> None:
    """The same in another process."""
    run(train_one(unit, seed, bench, pieces), lambda told: tell(told.done / max(1, told.total)))


def train_one(unit: Unit, seed: int, bench: Bench, pieces: Pieces) -> Job[None]:
    """Train a unit and write its result; a training that was cut off goes on.

    ``seconds`` of the result is the time since then, if it was ``resumed``.
    """
    extent, out = bench.extent, bench.folder(unit, seed)
    began, done = time.perf_counter(), is_trained(out)
    resumed = (out / CHECKPOINT).exists()
    yield from train(
        bench.table,
        unit.model,
        store=bench.store,
        out=out,
        encoder=unit.encoder or extent.encoder,
        magnifications=unit.magnifications,
        patch_size=extent.patch_size,
        **TISSUE,
        options=dict(unit.options),
        recipe=extent.recipe,
        epochs=extent.epochs,
        learning_rate=extent.learning_rate,
        seed=seed,
        device=bench.device,
        resume=not done,
        overwrite=done,  # without a result: it was cut off between the two files
    )
    seconds = time.perf_counter() - began
    yield Progress(0, 1, "counting patches")
    result = {"seconds": seconds, "resumed": resumed, **measured(unit, seed, bench)}
    pieces.keep(f"{unit.name}/{seed}", result)


def measured(unit: Unit, seed: int, bench: Bench) -> dict[str, Any]:
    """Metrics of a trained unit on the test slides, and the patches that it encodes there."""
    folder = bench.folder(unit, seed)
    report = json.loads(read_file(folder / REPORT))["test"]["per_slide"]
    epochs = len(read_file(folder / CURVES).splitlines()) - 1
    return {
        **{name: report["metrics"][name]["value"] for name in METRICS if name in report["metrics"]},
        "confusion": report["confusion"],
        "slides": report["count"],
        "patches": _patches(unit, seed, bench),
        "epochs": epochs,
    }


def _patches(unit: Unit, seed: int, bench: Bench) -> list[float]:
    """Mean number of patches read at each magnification of a test slide."""
    mil, spec = load_model(bench.folder(unit, seed))
    encoder = spec.encoder or bench.extent.encoder
    counts = [
        [len(rows) for rows in rows_read(mil, bench.bag(one.slide, encoder, unit.magnifications))]
        for one in bench.slides("test")
    ]
    return [float(value) for value in np.mean(counts, 0)]
