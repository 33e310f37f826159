"""Time from a click on a patch to its map, on CPU, with the shipped model and encoder.

    python tests/benchmarks/inside_patch.py [SLIDE] [--json]

A prediction is there, as in the window; each method that looks inside a patch then explains one patch five
times. ``first`` is the first call, ``median`` that of the others. Without SLIDE, a synthetic one is drawn.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from napari_zoommil.jobs import explain, predict, run
from napari_zoommil.maps.focus import Focus
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.synthetic import SyntheticSlide


def seconds(slide: Path, store: Path) -> dict[str, dict[str, object]]:
    prediction = run(predict(slide, "demo", store=store, device="cpu"))
    step = prediction.steps[-1]
    level = prediction.grid.levels[step.level]
    y, x = (level.origins[step.rows[0]] + np.asarray(level.size) / 2).tolist()
    out: dict[str, dict[str, object]] = {}
    for name in (name for name, method in METHODS.items() if method.inside):
        taken, shape = [], (0, 0)
        for _ in range(5):
            started = time.perf_counter()
            given = {"focus": Focus(at=(y, x)), "prediction": prediction, "store": store, "device": "cpu"}
            found = run(explain(slide, "demo", method=name, **given))  # type: ignore[arg-type]
            taken.append(time.perf_counter() - started)
            shape = found.maps[0].values.shape
        out[name] = {"first": round(taken[0], 3), "median": round(median(taken[1:]), 3), "map": list(shape)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slide", type=Path, nargs="?")
    parser.add_argument("--json", action="store_true", help="(always)")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        slide = options.slide or Path(folder) / "slide.tif"
        if options.slide is None:
            SyntheticSlide(81_000, 8_192, True, 0.06).write(slide)
        print(json.dumps(seconds(slide, Path(folder) / "store"), indent=1))


if __name__ == "__main__":
    main()
