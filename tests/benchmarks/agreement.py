"""Methods of explanation beside planted tissue, and deletion and insertion: a table of every method.

    python tests/benchmarks/agreement.py [--model MODEL] [--slides N | --slide SLIDE ...] [--json]

A slide needs its regions beside it, as ``SLIDE.geojson``; without ``--slide``, synthetic slides that the
shipped model was not trained on are drawn, two of three with a tumour. A third of the slides, drawn by
number, choose the denoising of each method and magnification (highest mean Jaccard); Jaccard is measured on
the others. Average precision, pointing game, deletion and insertion have nothing to choose: they are of all
slides. Intervals are bootstrap intervals over slides. Beside each method: uniform noise at the places
that it knows, and a map of the slide's optical density, both treated alike.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.errors import AnnotationError, ZoomMILError
from napari_zoommil.jobs import explain, faithfulness, predict, run
from napari_zoommil.jobs.map_agreement import density_map
from napari_zoommil.jobs.prediction_files import overview_of
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.localisation import (
    Localisation,
    average_precision,
    inside,
    interval,
    localise,
    pointing_game,
    random_map,
    tune,
)
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.slides import Slide
from napari_zoommil.synthetic import SyntheticSlide

FIRST_SEED, EDGE = 80_000, 8_192
LEFT_OUT = ("familiarity", "occlusion-glass")
"""Of no class, and the same as occlusion at twice the cost."""

CONTROLS = "random / density"

Row = tuple[str, float]
"""Method and magnification."""


def regions_of(slide: Path) -> tuple[Any, ...]:
    """None on a slide without regions."""
    try:
        return read_regions(slide.with_suffix(".geojson"), origin=None)  # of slides that were made whole
    except AnnotationError:
        return ()


def maps_of(slide: Path, model: str, target: str | None, store: Path) -> Iterator[tuple[Row, Any]]:
    """Maps of every method, of one output, and its curves (None where there are none)."""
    prediction = run(predict(slide, model, store=store))
    with Slide.open(slide) as own:
        overview = overview_of(own)
    regions = regions_of(slide)
    for name in METHODS:
        if name in LEFT_OUT:
            continue
        try:
            one = run(explain(slide, model, method=name, prediction=prediction, store=store,
                              target=target if METHODS[name].per_output else None))  # fmt: skip
        except ZoomMILError:
            continue  # not of this model
        curves = run(faithfulness(slide, replace(one, target=target or one.target), store=store))
        for place, shown in enumerate(one.maps_for(target or prediction.explained)):
            found = shown, inside(shown, regions), density_map(shown, overview), None if place else curves
            yield (name, shown.magnification), found


def measure(found: list[tuple[HeatMap, Any, HeatMap, Any]]) -> dict[str, Any]:
    """The numbers of one method at one magnification."""
    rng = np.random.default_rng(0)
    choosing = [one for number, one in enumerate(found) if number % 3 == 0]
    others = [one for number, one in enumerate(found) if number % 3]
    kinds = {
        "map": lambda one: one[0],
        "random": lambda one: random_map(one[0], rng),
        "density": lambda one: one[2],
    }
    out: dict[str, Any] = {"slides": len(found), "measured_on": len(others)}
    for kind, map_of in kinds.items():
        maps, truths = [map_of(one) for one in choosing], [one[1] for one in choosing]
        how, _ = tune(maps, truths)
        every: list[Localisation] = [localise(map_of(one), one[1], how) for one in found]
        measured = [localise(map_of(one), one[1], how).jaccard for one in others]
        out[kind] = {
            "denoising": str(how),
            "jaccard": interval(measured, [str(n) for n in range(len(measured))]),
            "average_precision": average_precision(every),
            "pointing": pointing_game(every),
        }
    curves = [one[3] for one in found if one[3] is not None]
    if curves:
        out["faithfulness"] = {
            name: float(np.mean([one.areas[name] for one in curves])) for name in curves[0].areas
        }
    return out


def lines(table: dict[Row, dict[str, Any]]) -> Iterator[str]:
    titles = ("method", "Jaccard", CONTROLS, "AP", CONTROLS, "pointing", CONTROLS, "deletion (random)",
              "insertion (random)")  # fmt: skip
    yield f"| {' | '.join(titles)} |"
    yield "| --- " * len(titles) + "|"
    for (method, magnification), one in table.items():
        mean, low, high = one["map"]["jaccard"]
        controls = {
            name: " / ".join(f"{np.ravel(one[kind][name])[0]:.2f}" for kind in ("random", "density"))
            for name in ("jaccard", "average_precision", "pointing")
        }
        curve = one.get("faithfulness")
        told = (
            f"{curve['deletion']:.3f} ({curve['deletion_random']:.3f}) | "
            f"{curve['insertion']:.3f} ({curve['insertion_random']:.3f})"
            if curve
            else "|"
        )
        yield (
            f"| {method} {magnification:g}x | {mean:.2f} ({low:.2f} to {high:.2f}) | {controls['jaccard']} | "
            f"{one['map']['average_precision']:.2f} | {controls['average_precision']} | "
            f"{one['map']['pointing']:.2f} | {controls['pointing']} | {told} |"
        )


def drawn(folder: Path, count: int) -> Iterator[Path]:
    """Synthetic slides; of three one is without tumour, which one changes from three to three."""
    for number in range(count):
        path = folder / f"slide-{number:02d}.tif"
        SyntheticSlide(FIRST_SEED + number, EDGE, number % 3 != (number // 3 + 1) % 3, 0.06).write(path)
        yield path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--target", help="output that is explained; the predicted one by default")
    parser.add_argument("--slides", type=int, default=12, help="synthetic slides")
    parser.add_argument("--slide", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    found: dict[Row, list[Any]] = defaultdict(list)
    with TemporaryDirectory() as folder, suppress(KeyboardInterrupt):  # Ctrl-C: what there is
        for path in options.slide or drawn(Path(folder), options.slides):
            for row, one in [*maps_of(path, options.model, options.target, Path(folder) / "store")]:
                found[row].append(one)
    table = {row: measure(every) for row, every in found.items()}
    if options.json:
        print(
            json.dumps([{"method": m, "magnification": x, **one} for (m, x), one in table.items()], indent=1)
        )
    else:
        print("\n".join(lines(table)))


if __name__ == "__main__":
    main()
