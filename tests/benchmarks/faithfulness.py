"""Methods of explanation against leaving patches out: do their values say what then happens?

    python tests/benchmarks/faithfulness.py --json [--model MODEL] [--slides N | --slide SLIDE ...]

Every patch that the model looked at is left out, with all patches inside it, in a pass of its own; then it is
replaced by the slide's background. The fall of the predicted output is compared with what each method says of
that patch, at each magnification:

- ``rank``: Spearman's correlation over the patches. 1 = the same order, 0 = nothing in common.
- ``sign``: share of the patches on whose sign both agree; of signed methods, and of patches whose fall is not
  smaller than 0.1 % of the largest. ``same``: the share that saying "positive" of every patch would reach.

The slides are synthetic ones that the shipped model was not trained on, half of them with a tumour.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import explain, run
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.synthetic import SyntheticSlide

FIRST_SEED, EDGE = 70_000, 8_192
LEFT_OUT = ("occlusion", "occlusion-glass")
LEAST_FALL = 1e-3
"""Share of the largest fall below which a patch has no sign."""


def values(found: Explanation, head: str = "") -> dict[int, dict[int, float]]:
    """Of the explained output, or of one head: level → row → value."""
    if not METHODS[found.method].computed:
        index = found.prediction.task.names.index(found.target) if found.target else 0
        out = {}
        for step in found.prediction.steps:
            if found.method in step.explained:
                column = step.explained[found.method][index]
            elif head in step.heads:
                column = step.scores[:, step.heads.index(head)]
            else:
                continue
            out[step.level] = dict(zip(step.rows.tolist(), column.tolist(), strict=True))
        return out
    index = found.prediction.task.names.index(found.target or found.prediction.explained)
    return {
        one.level: dict(zip(one.rows.tolist(), one.values[index].tolist(), strict=True))
        for one in found.scores
    }


def agreement(said: dict[int, float], fall: dict[int, float], signed: bool) -> dict[str, float]:
    """Rank and sign over the patches of one magnification that both know."""
    rows = [row for row in said if np.isfinite(fall.get(row, np.nan))]
    one, other = np.array([said[row] for row in rows]), np.array([fall[row] for row in rows])
    if len(rows) < 3 or not np.ptp(one) or not np.ptp(other):
        return {}
    out = {"rank": float(spearmanr(one, other)[0])}
    if signed:
        counts = np.abs(other) >= LEAST_FALL * np.abs(other).max()
        out["sign"] = float((np.sign(one[counts]) == np.sign(other[counts])).mean())
        out["same"] = float((other[counts] > 0).mean())
    return out


def measure(slide: Path, model: str, store: Path) -> dict[str, dict[str, dict[str, float]]]:
    """method, against what → magnification → rank and sign, of one slide."""
    found = {name: run(explain(slide, model, method=name, store=store)) for name in METHODS}  # type: ignore[arg-type]
    prediction = found["attention"].prediction
    heads = dict.fromkeys(head for step in prediction.steps for head in step.heads)
    said = {name: values(one) for name, one in found.items() if name != "attention"}
    said |= {head: values(found["attention"], head) for head in heads}
    results: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for name, by_level in said.items():
        for against in LEFT_OUT:
            for level, of_patches in by_level.items() if name != against else ():
                magnification = magnification_name(prediction.grid.magnifications[level])
                signed = name in METHODS and METHODS[name].signed
                fall = said[against].get(level, {})
                results[f"{name} | {against}"][magnification] = agreement(of_patches, fall, signed)
    return results


def summarised(slides: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and largest over the slides of each number."""
    numbers: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for slide in slides:
        for name, levels in slide.items():
            for magnification, one in levels.items():
                for what, value in one.items():
                    numbers[name, magnification, what].append(value)
    out: dict[str, Any] = {}
    for (name, magnification, what), of_slides in numbers.items():
        told = [round(float(f(of_slides)), 2) for f in (np.median, np.min, np.max)]
        out.setdefault(name, {}).setdefault(magnification, {})[what] = told
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="(always)")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--slides", type=int, default=6, help="synthetic slides")
    parser.add_argument("--slide", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        paths = list(options.slide)
        for number in range(0 if paths else options.slides):
            path = Path(folder) / f"slide-{number}.tif"
            SyntheticSlide(FIRST_SEED + number, EDGE, number % 2 == 1, 0.06).write(path)
            paths.append(path)
        slides = [measure(path, options.model, Path(folder) / "store") for path in paths]
    print(
        json.dumps({"model": options.model, "slides": len(slides), "agreement": summarised(slides)}, indent=1)
    )


if __name__ == "__main__":
    main()
