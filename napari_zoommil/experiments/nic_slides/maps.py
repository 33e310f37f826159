"""Grad-CAM of slides that a CNN has not seen, against the planted tumour, beside random and density maps."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from napari_zoommil.annotations.regions import Region
from napari_zoommil.experiments.nic_slides.codes import encoder_name
from napari_zoommil.experiments.nic_slides.slides import CLASSES, Row
from napari_zoommil.experiments.nic_slides.trials import Extent, Trial
from napari_zoommil.experiments.run_pieces import shares_of, within
from napari_zoommil.experiments.zoom_maps.numbers import outline_beside
from napari_zoommil.files import make_folder, write_file
from napari_zoommil.jobs import explain
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.map_agreement import cohort_agreement, slide_agreement
from napari_zoommil.jobs.prediction_files import overview_of
from napari_zoommil.maps.figure import Overview
from napari_zoommil.maps.localisation import Denoising, inside, tune
from napari_zoommil.maps.methods import MethodName
from napari_zoommil.slides import Slide

METHOD: MethodName = "grad-cam"
"""Of the first convolution, k = 1, without ReLU, as in the paper."""

EXAMPLES, THUMBNAIL = 3, 256

KINDS = ("", "_random", "_density")
"""Endings of the numbers of Grad-CAM, and of the controls."""

MEASURES = ("jaccard", "average_precision", "pointing")


class Explained(NamedTuple):
    """A slide with its map and its outlines."""

    row: Row
    explanation: Explanation
    regions: tuple[Region, ...]
    overview: Overview


def explained(
    told: Sequence[tuple[Row, Path]], trial: Trial, extent: Extent, out: Path, examples: Path, device: str
) -> Generator[float, None, dict[str, Any]]:
    """Explain slides by the CNN of their partition, tune the denoising on some, and compare the others.

    Parameters
    ----------
    told : sequence of (Row, Path)
        Slides of the partitions, with the CNN that has not seen them.

    Returns
    -------
    dict
        ``jaccard``, ``average_precision`` and ``pointing``, and the same with the endings ``_random`` and
        ``_density``; ``low`` and ``high`` of the 95 % interval of the Jaccard index; ``slides``;
        ``denoising``.
    """
    tuning, testing = divided(told, extent)
    found = []
    for number, (row, model) in enumerate((*tuning, *testing)):
        share = number / (len(tuning) + len(testing))
        found.append((yield from within(_explain(row, model, trial, extent, out, device), share, share)))
    tuned, tested = found[: len(tuning)], found[len(tuning) :]
    how = _denoising(tuned)
    _keep(examples, [one for one in tested if one.regions][:EXAMPLES])
    agreements = [
        slide_agreement(
            one.explanation, one.regions, denoising=how, overview=one.overview, group=one.row.slide.name
        )
        for one in tested
    ]
    summary = cohort_agreement(agreements)[0]
    numbers = {
        f"{measure}{kind}": _first(summary[f"{measure}{kind}"]) for measure in MEASURES for kind in KINDS
    }
    low, high = map(_first, summary["jaccard"][1:])
    kept = {"slides": len(tested), "with_regions": summary["with_regions"], "denoising": asdict(how)}
    return {**numbers, "low": low, "high": high, **kept}


def divided(
    told: Sequence[tuple[Row, Path]], extent: Extent
) -> tuple[list[tuple[Row, Path]], list[tuple[Row, Path]]]:
    """Slides with a tumour to tune on, and slides to compare: those of the subset *test*, where it is one."""
    ordered = sorted(told, key=lambda one: one[0].slide.name.rpartition("_")[2])  # by number
    others = [one for one in ordered if not one[0].subsets]
    tuning = [one for one in others if one[0].slide.drawing.tumour][: extent.tuned]
    testing = [one for one in ordered if one[0].subsets]
    left = testing or [one for one in others if one not in tuning]
    return tuning, left[: extent.explained]


def _explain(
    row: Row, model: Path, trial: Trial, extent: Extent, out: Path, device: str
) -> Generator[float, None, Explained]:
    slide = out / extent.cohort.folder / row.slide.name
    found = yield from shares_of(
        explain(
            slide,
            str(model),
            encoder=encoder_name(out, trial.code),
            method=METHOD,
            target=CLASSES[1] if trial.task == "presence" else None,
            store=out / "features",
            device=device,
        )
    )
    with Slide.open(slide) as opened:
        overview = overview_of(opened)
    return Explained(row, found, outline_beside(slide), overview)


def _denoising(tuned: Sequence[Explained]) -> Denoising:
    maps = [one.explanation.shown[0] for one in tuned]
    truths = [inside(own, one.regions) for own, one in zip(maps, tuned, strict=True)]
    return tune(maps, truths)[0] if any(truth.any() for truth in truths) else Denoising()


def _first(value: Any) -> float | None:
    number = value[0] if isinstance(value, (tuple, list)) else value
    return None if number is None or not np.isfinite(number) else float(number)


def _keep(path: Path, shown: Sequence[Explained]) -> None:
    """Small pictures, masks and maps, which slides may have of different shapes."""
    content = BytesIO()
    arrays: dict[str, Any] = {}
    for number, one in enumerate(shown):
        own = one.explanation.shown[0]
        picture = Image.fromarray(one.overview.pixels)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        arrays |= {
            f"picture{number}": np.asarray(picture),
            f"map{number}": own.values,
            f"truth{number}": inside(own, one.regions),
        }
    np.savez_compressed(content, **arrays)
    make_folder(path.parent)
    write_file(path, content.getvalue())
