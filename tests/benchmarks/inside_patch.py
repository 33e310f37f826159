"""Time from a click on a patch to its map, on CPU, with the shipped model and encoder.

    python tests/benchmarks/inside_patch.py [SLIDE] [--json]

A prediction is there, and what explanations take is loaded ahead, as in the window (``prepared``); each
method that looks inside a patch then explains one patch five times. ``first`` is the first call, ``median``
that of the others, both in seconds; ``cpu`` are those of the processor. Without SLIDE, a synthetic one is
drawn.
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
from napari_zoommil.jobs.explain import prepare_to_explain
from napari_zoommil.maps.focus import Focus
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.synthetic import SyntheticSlide


def seconds(slide: Path, store: Path) -> dict[str, dict[str, object]]:
    prediction = run(predict(slide, "demo", store=store, device="cpu"))
    step = prediction.steps[-1]
    level = prediction.grid.levels[step.level]
    y, x = (level.origins[step.rows[0]] + np.asarray(level.size) / 2).tolist()
    started, own = time.perf_counter(), time.process_time()
    run(prepare_to_explain("demo", device="cpu"))
    prepared = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - own}
    out: dict[str, dict[str, object]] = {"prepared": {name: round(one, 3) for name, one in prepared.items()}}
    for name in (name for name, method in METHODS.items() if method.inside):
        taken, used, shape = [], [], (0, 0)
        for _ in range(5):
            started, own = time.perf_counter(), time.process_time()
            given = {"focus": Focus(at=(y, x)), "prediction": prediction, "store": store, "device": "cpu"}
            found = run(explain(slide, "demo", method=name, **given))  # type: ignore[arg-type]
            taken.append(time.perf_counter() - started)
            used.append(time.process_time() - own)
            shape = found.maps[0].values.shape
        figures = {"first": taken[0], "median": median(taken[1:]), "cpu": median(used)}
        out[name] = {key: round(one, 3) for key, one in figures.items()} | {"map": list(shape)}
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
