"""Thirty points teach a MIL model where to look: attention inside the region before and after.

    python tests/benchmarks/mil_points.py --json [--work FOLDER] [--seeds 3] [--losses ece ce]

Synthetic slides of 8,192 px with textures that no model was trained on. Points lie at random in a region
of one slide; figures are of that slide and of three others that the fine-tuning has not seen. Cases:

- ``demo``: the shipped model and the planted tumour, which it knows already;
- ``barely trained``: a model of four epochs on ten slides, which hardly looks at the tumour;
- ``follicles``: the shipped model and lymphoid follicles of a slide without tumour, which it was trained
  to pass over; they are no class of it, so its prediction is to stay.

Losses: ``ece`` as ``finetune`` has it, ``ece-cells`` with the weight and sampling of cell models,
``weighted-ce`` and ``ce`` as controls. *inside* is the share of the softmax attention in the region,
*expected* what even attention over the patches read would give.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import find_contours

from napari_zoommil import Slide
from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.bags import CachedBag, FeatureCache
from napari_zoommil.cells.losses.schedules import constant
from napari_zoommil.encoders import load_encoder
from napari_zoommil.jobs import finetune, run, train
from napari_zoommil.maps.agreement import attention_agreement
from napari_zoommil.models.spec import load_model
from napari_zoommil.slides.patching import detect_tissue, patch_grid
from napari_zoommil.synthetic import SyntheticSlide
from napari_zoommil.training.mil import points as points_training

POINTS = 30
FIRST_SEED, TEXTURE, TRAIN_TEXTURES, COHORT_SEED = 91_001, 4, (1, 2, 3), 70_000
MAP_DOWNSAMPLE = 32
CELLS = {"sampling": constant(0.5), "weight": 0.2}
LOSSES = ("ece", "ece-cells", "weighted-ce", "ce")
SLIDES = {f"tumour {n}": SyntheticSlide(FIRST_SEED + n, 8_192, True, 0.12, TEXTURE) for n in range(3)} | {
    "normal": SyntheticSlide(FIRST_SEED + 3, 8_192, False, 0.12, TEXTURE)
}


@dataclass(frozen=True)
class Case:
    """What is taught, on which slide, to which model."""

    name: str
    model: str
    taught: str
    tissue: str
    marked_as: str


def slide_path(work: Path, name: str) -> Path:
    """A slide, written if it is not there."""
    path = work / f"s{SLIDES[name].seed}.tif"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        SLIDES[name].write(path)
    return path


def barely_trained(work: Path) -> str:
    """A model of four epochs on ten slides of 6,144 px, made if it is not there."""
    out, folder = work / "weak" / "m4", work / "weak"
    if not (out / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = [("slide", "label", "split")]
        for number in range(14):
            label = ("normal", "tumour")[number % 2]
            path = folder / f"{label}_{number:02d}.tif"
            texture = TRAIN_TEXTURES[number % 3]
            if not path.exists():
                SyntheticSlide(COHORT_SEED + number, 6_144, number % 2 == 1, 0.08, texture).write(path)
            rows.append((path.name, label, "train" if number < 10 else "val"))
        with (folder / "c.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        settings: dict[str, Any] = {"epochs": 4, "learning_rate": 2e-4, "k": 12, "patch_size": 128}
        run(train(folder / "c.csv", "zoommil", store=folder / "st", out=out, device="cpu", **settings))
    return str(out)


def outline_of(slide: SyntheticSlide, tissue: str) -> list[NDArray]:
    """Polygons, (n, 2) level-0 y and x, round a tissue type."""
    if tissue == "tumour":
        return slide.outline()
    mask = slide.label_map(MAP_DOWNSAMPLE) == slide.tissue_types.index(tissue)
    rings = find_contours(np.pad(mask, 1).astype(float), 0.5)
    return [(ring - 0.5) * MAP_DOWNSAMPLE for ring in rings if len(ring) > 20]


def points_in(slide: SyntheticSlide, tissue: str, name: str, seed: int) -> Points:
    """Points at random in a tissue type."""
    rng = np.random.default_rng(seed)
    inside = np.argwhere(slide.label_map(MAP_DOWNSAMPLE) == slide.tissue_types.index(tissue))
    places = inside[rng.choice(len(inside), POINTS)] + rng.uniform(0, 1, (POINTS, 2))
    points = Points(classes=[CellClass(name, (213, 94, 0))])
    points.add(places * MAP_DOWNSAMPLE, 1)
    return points


def seen(model: str, work: Path, tissue: str) -> dict[str, Any]:
    """Attention inside the tissue type and the probability of a tumour, on each slide."""
    mil, spec = load_model(model)
    found = {}
    for name, recipe in SLIDES.items():
        with Slide.open(slide_path(work, name)) as slide, torch.no_grad():
            grid = patch_grid(slide, _tissue(slide), spec.magnifications, spec.patch_size, spec.min_tissue)
            bag = CachedBag(FeatureCache(work / "features"), slide, grid, load_encoder(spec.encoder))
            output = mil(bag)
        outline = outline_of(recipe, tissue)
        agreed = [
            attention_agreement(grid, step.level, step.rows, step.attention.numpy(), outline)
            for step in (output.steps if outline else ())
        ]
        found[name] = {
            "tumour": round(float(spec.task.link(output.logits)[spec.class_names.index("tumour")]), 4),
            "inside": [round(one.inside, 3) for one in agreed],
            "expected": [round(one.expected, 3) for one in agreed],
        }
    return found


_known: dict[str, Any] = {}


def _tissue(slide: Slide) -> Any:
    if slide.fingerprint not in _known:
        _known[slide.fingerprint] = detect_tissue(slide)
    return _known[slide.fingerprint]


def runs(case: Case, work: Path, losses: list[str], seeds: int) -> Iterator[dict[str, Any]]:
    """Every loss and seed of a case."""
    path = slide_path(work, case.taught)
    for loss in losses:
        cells = patch.dict(points_training.INTERACTIVE, CELLS) if loss == "ece-cells" else nullcontext()
        for seed in range(seeds):
            points = points_in(SLIDES[case.taught], case.tissue, case.marked_as, seed)
            with TemporaryDirectory() as out, cells:
                started = time.perf_counter()
                run(
                    finetune(
                        path,
                        points,
                        case.model,
                        out=Path(out),
                        loss="ece" if loss == "ece-cells" else loss,  # type: ignore[arg-type]
                        seed=seed,
                        device="cpu",
                        store=work / "features",
                    )
                )
                seconds = time.perf_counter() - started
                yield {
                    "loss": loss,
                    "seed": seed,
                    "seconds": round(seconds, 1),
                    "after": seen(out, work, case.tissue),
                }


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over seeds, slide by slide."""
    told = {}
    for name in SLIDES:
        after = [one["after"][name] for one in found]
        told[name] = {
            "inside": [
                round(statistics.mean(values), 3)
                for values in zip(*(a["inside"] for a in after), strict=True)
            ],
            "tumour": round(statistics.mean(a["tumour"] for a in after), 4),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--work", type=Path, default=None, help="folder in which slides are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    args = parser.parse_args()
    with TemporaryDirectory() as spare:
        work = args.work or Path(spare)
        cases = (
            Case("demo", "demo", "tumour 0", "tumour", "tumour"),
            Case("barely trained", barely_trained(work), "tumour 0", "tumour", "tumour"),
            Case("follicles", "demo", "normal", "lymphoid", "follicle"),
        )
        results = []
        for case in cases:
            found = list(runs(case, work, args.losses, args.seeds))
            results.append(
                {
                    "case": case.name,
                    "taught": case.taught,
                    "before": seen(case.model, work, case.tissue),
                    "after": {
                        loss: summary([one for one in found if one["loss"] == loss]) for loss in args.losses
                    },
                    "runs": found,
                }
            )
    print(json.dumps({"points": POINTS, "threads": torch.get_num_threads(), "cases": results}, indent=2))


if __name__ == "__main__":
    main()
