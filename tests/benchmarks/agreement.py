"""Methods of explanation beside planted tissue, and deletion and insertion: a table for each classifier.

    python tests/benchmarks/agreement.py [--model MODEL ...] [--train nic bagnet] [--target tumour]
        [--slides N] [--edge 8192] [--slide SLIDE ...] [--out FOLDER] [--json]

A slide needs its regions beside it, as ``SLIDE.geojson``; without ``--slide``, synthetic slides that no
model here was trained on are drawn, two of three with a planted tumour. ``--train`` trains architectures on
48 other synthetic slides of 4,096 px, as the command ``train`` does, and adds them to the models: see
:data:`QUICK`. With ``--out``, slides, models and what was found on each slide are kept, and a run that was
cut off goes on; what was found is found again by weights, output and slide.

A third of the slides, drawn by number, choose the denoising of each method and magnification (highest mean
Jaccard); Jaccard is measured on the others. Average precision, pointing game, deletion and insertion have
nothing to choose: they are of all slides. Beside each method: uniform noise at the places that it knows, and
a map of the slide's optical density, both treated alike. Intervals are 95 % bootstrap intervals over slides;
those of differences are paired by slide.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import pickle
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.errors import AnnotationError, ZoomMILError
from napari_zoommil.jobs import explain, faithfulness, predict, run, train
from napari_zoommil.jobs.map_agreement import density_map
from napari_zoommil.jobs.prediction_files import overview_of
from napari_zoommil.maps import HeatMap
from napari_zoommil.maps.localisation import (
    average_precision,
    inside,
    interval,
    localise,
    pointing_game,
    random_map,
    tune,
)
from napari_zoommil.maps.methods import METHODS
from napari_zoommil.model_folder import WEIGHTS, find_model
from napari_zoommil.models.registry import entry
from napari_zoommil.models.spec import read_spec
from napari_zoommil.slides import Slide
from napari_zoommil.synthetic import SyntheticSlide

FIRST_SEED, EDGE = 80_000, 8_192
TRAINED_SEED, TRAINED_ON, TRAINED_EDGE = 79_000, 48, 4_096
SHARE = 0.06
"""Of the tumour in the tissue of a slide of :data:`EDGE` px; it is as large on smaller ones."""

LEFT_OUT = ("familiarity", "occlusion-glass")
"""Of no class, and the same as occlusion at twice the cost."""

QUICK: dict[str, dict[str, Any]] = {
    "nic": {"recipe": "small", "epochs": 40},
    "bagnet": {"recipe": "cpu", "magnifications": (5.0,), "epochs": 15,
               "settings": {"accumulate": 4, "rotate_flip": True, "brightness": 0.1, "contrast": 0.1}},
}  # fmt: skip
"""How architectures are trained with ``--train``; others with their own recipe."""

CURVES: dict[str, int] = {}
IMAGE_CURVES = {"draws": 3, "steps": 5}
"""Random orders and points of curves, of models of patches and of models that read an image anew for each."""

KINDS = ("map", "random", "density")
RESAMPLES = 1_000

Row = tuple[str, float]
"""Method and magnification."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A map of a slide with what it is compared with.

    Attributes
    ----------
    maps : dict of str to HeatMap
        By :data:`KINDS`.
    truth : (h, w) bool
    areas : dict of str to float
        Of deletion and insertion; empty where there are no curves.
    right : bool
        Whether the slide's class was predicted.
    """

    maps: dict[str, HeatMap]
    truth: Any
    areas: dict[str, float]
    right: bool


Found = dict[Row, Measured]


def regions_of(slide: Path) -> tuple[Any, ...]:
    """None on a slide without regions."""
    try:
        return read_regions(slide.with_suffix(".geojson"), origin=None)  # of slides that were made whole
    except AnnotationError:
        return ()


def maps_of(
    slide: Path, model: str, target: str | None, store: Path, number: int
) -> Iterator[tuple[Row, Any]]:
    """Maps of every method, of one output, and its curves."""
    prediction = run(predict(slide, model, store=store))
    with Slide.open(slide) as own:
        overview = overview_of(own)
    regions, rng = regions_of(slide), np.random.default_rng(number)
    right = target is None or (prediction.explained == target) == bool(regions)
    how: dict[str, int] = IMAGE_CURVES if read_spec(model).takes == "image" else CURVES
    for name in METHODS:
        if name in LEFT_OUT:
            continue
        try:
            one = run(explain(slide, model, method=name, prediction=prediction, store=store,
                              target=target if METHODS[name].per_output else None))  # fmt: skip
        except ZoomMILError:
            continue  # not of this model
        curves = run(faithfulness(slide, replace(one, target=target or one.target), store=store, **how))
        for place, shown in enumerate(one.maps_for(target or prediction.explained)):
            maps = dict(
                zip(KINDS, (shown, random_map(shown, rng), density_map(shown, overview)), strict=True)
            )
            areas = {} if place else curves.areas
            yield (name, shown.magnification), Measured(maps, inside(shown, regions), areas, right)


def measure(found: Sequence[Measured]) -> dict[str, Any]:
    """The numbers of one method at one magnification, each as value, low and high end."""
    present = np.array([one.truth.any() for one in found])
    own = np.array([number % 3 > 0 for number in range(len(found))]) & present
    out: dict[str, Any] = {"slides": len(found), "jaccard_of": int(own.sum())}
    overlaps = {}
    for kind in KINDS:
        chosen = [one for number, one in enumerate(found) if number % 3 == 0]
        how, _ = tune([one.maps[kind] for one in chosen], [one.truth for one in chosen])
        every = [localise(one.maps[kind], one.truth, how) for one in found]
        overlaps[kind] = np.array([one.jaccard for one in every])[own]
        out[kind] = {
            "denoising": str(how),
            "jaccard": mean_of(overlaps[kind]),
            "average_precision": resampled(average_precision, every),
            "pointing": resampled(pointing_game, every),
        }
    out["jaccard_above"] = {
        kind: mean_of(overlaps["map"] - overlaps[kind]) for kind in KINDS if kind != "map"
    }
    areas = [one.areas for one in found if one.areas]
    if areas:
        table = {name: np.array([one[name] for one in areas]) for name in areas[0]}
        out["faithfulness"] = {name: mean_of(values) for name, values in table.items()}
        out["falls_sooner"] = mean_of(table["deletion_random"] - table["deletion"])
        out["rises_sooner"] = mean_of(table["insertion"] - table["insertion_random"])
    return out


def mean_of(values: Any) -> tuple[float, float, float]:
    return interval(values, [str(number) for number in range(len(values))])


def resampled(statistic: Callable[[list[Any]], float], every: list[Any]) -> tuple[float, float, float]:
    """A statistic of all slides, with its bootstrap interval over slides."""
    rng = np.random.default_rng(0)
    draws = [
        statistic([every[at] for at in rng.integers(0, len(every), len(every))]) for _ in range(RESAMPLES)
    ]
    low, high = np.nanquantile(draws, (0.025, 0.975)).tolist()
    return statistic(every), low, high


def verdict(one: dict[str, Any]) -> str:
    """Which controls a method beats: the interval of the paired difference is above 0."""
    above = one["jaccard_above"]
    told = [kind for kind, (_, low, _) in above.items() if low > 0]
    told += [
        name.replace("_", " ") for name in ("falls_sooner", "rises_sooner") if one.get(name, (0, 0))[1] > 0
    ]
    return ", ".join(told) or "nothing"


def lines(table: dict[Row, dict[str, Any]]) -> Iterator[str]:
    controls = "random / density"
    titles = ("method", "Jaccard", controls, "AP", controls, "pointing", controls, "deletion (random)",
              "insertion (random)", "beats")  # fmt: skip
    yield f"| {' | '.join(titles)} |"
    yield "| --- " * len(titles) + "|"
    for (method, magnification), one in table.items():
        cells = [f"{method} {magnification:g}x"]
        for name in ("jaccard", "average_precision", "pointing"):
            value, low, high = one["map"][name]
            cells.append(f"{value:.2f} ({low:.2f} to {high:.2f})")
            cells.append(" / ".join(f"{one[kind][name][0]:.2f}" for kind in KINDS[1:]))
        curve = one.get("faithfulness")
        cells += [f"{curve[way][0]:.2f} ({curve[f'{way}_random'][0]:.2f})" if curve else ""
                  for way in ("deletion", "insertion")]  # fmt: skip
        yield f"| {' | '.join([*cells, verdict(one)])} |"


def drawn(folder: Path, seed: int, edge: int, count: int) -> list[tuple[Path, bool]]:
    """Synthetic slides, and whether they have a tumour; of three one has none, in changing places."""
    found = []
    for number in range(count):
        path, tumour = folder / f"slide-{edge}-{seed + number}.tif", number % 3 != (number // 3 + 1) % 3
        if not path.exists():
            SyntheticSlide(seed + number, edge, tumour, SHARE * (EDGE / edge) ** 2).write(path)
        found.append((path, tumour))
    return found


def trained(name: str, folder: Path) -> Path:
    """An architecture, trained on slides of its own as the command does."""
    out = folder / name
    slides = drawn(folder, TRAINED_SEED, TRAINED_EDGE, TRAINED_ON)
    with (folder / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("slide", "label"))
        writer.writerows((path.name, "tumour" if tumour else "normal") for path, tumour in slides)
    entry(name)  # refuse what there is not, before anything is drawn
    found = run(
        train(folder / "train.csv", name, store=folder / "store", out=out, resume=True, **QUICK.get(name, {}))
    )
    print(f"{name}: {found.metrics}", file=sys.stderr, flush=True)
    return out


def key_of(model: str, slide: Path, target: str | None) -> str:
    """Hash of the weights, of the slide's path and of the output that is explained."""
    found = hashlib.sha256(repr((str(slide.resolve()), target)).encode())
    for weights in sorted(find_model(model).rglob(WEIGHTS)):  # several of an ensemble
        found.update(weights.read_bytes())
    return found.hexdigest()[:16]


def kept(path: Path, make: Callable[[], Found]) -> Found:
    """What was found on a slide, from a file of an earlier run of this program."""
    if path.exists():
        found: Found = pickle.loads(path.read_bytes())
        return found
    path.write_bytes(pickle.dumps(made := make()))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", nargs="*", default=["demo"])
    parser.add_argument("--train", nargs="*", default=[], metavar="ARCHITECTURE")
    parser.add_argument("--target", help="output that is explained; the predicted one by default")
    parser.add_argument("--slides", type=int, default=12, help="synthetic slides")
    parser.add_argument("--edge", type=int, default=EDGE, help="of the synthetic slides, px")
    parser.add_argument("--slide", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, help="folder of what is kept")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder: Path = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        slides = options.slide or [
            path for path, _ in drawn(folder, FIRST_SEED, options.edge, options.slides)
        ]
        for model in [*options.model, *(str(trained(name, folder)) for name in options.train)]:
            found = _of_model(model, slides, options.target, folder)
            _tell(Path(model).name, found, options.json)


def _of_model(
    model: str, slides: Sequence[Path], target: str | None, folder: Path
) -> dict[Row, list[Measured]]:
    every: dict[Row, list[Measured]] = defaultdict(list)
    with suppress(KeyboardInterrupt):  # Ctrl-C: what there is
        for number, path in enumerate(slides):
            started = time.process_time()
            file = folder / f"{Path(model).name}-{path.stem}-{key_of(model, path, target)}.pickle"
            found = kept(file, lambda: dict(maps_of(path, model, target, folder / "store", number)))  # noqa: B023
            for row, one in found.items():
                every[row].append(one)
            print(f"{model} {path.name}: {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)
    return every


def _tell(model: str, found: dict[Row, list[Measured]], as_json: bool) -> None:
    if not found:
        return
    table = {row: measure(every) for row, every in found.items()}
    first = next(iter(found.values()))
    right = sum(one.right for one in first)
    if as_json:
        rows = [{"method": m, "magnification": x, **one} for (m, x), one in table.items()]
        print(json.dumps({"model": model, "slides": len(first), "right": right, "rows": rows}), flush=True)
    else:
        print(
            f"\n{model}: {right} of {len(first)} slides predicted right\n",
            *lines(table),
            sep="\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
