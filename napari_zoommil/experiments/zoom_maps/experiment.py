"""``reproduce zoom-maps``: ZoomMIL's attention beside the known region, on correct and on wrong slides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.experiments.reproduce import Reproduction
from napari_zoommil.experiments.zoom_maps.figure import write_figure
from napari_zoommil.experiments.zoom_maps.numbers import SlideMaps, maps_of, outline_beside
from napari_zoommil.experiments.zooming.report import DASH, about, written
from napari_zoommil.experiments.zooming.training import Bench, trained
from napari_zoommil.experiments.zooming.units import EXTENTS, Unit, zoommil
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.model_card import markdown_table
from napari_zoommil.models.spec import load_model
from napari_zoommil.slides import Slide

NAME = "zoom-maps"
PER_CLASS = 2
"""Figures of correct and of wrong slides of each class, from the first seed."""

NOTE = """
Each test slide of each seed, with the patches that the model read there. *Inside*: share of the softmax
attention within the known region; *even*: the same if all patches had equal attention. *AP*: average
precision of the attention for patches of which the region covers half or more; *chance*: that of random
scores. Means over slides that have a region; above the lowest magnification, patches are those that the
model zoomed into. The paper shows such maps (Fig. 4; supplement, Figs 3 and 4) without numbers.
"""


def experiment(
    out: Path,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    mpp: float = 0.25,
    device: str = "auto",
) -> Job[Reproduction]:
    """Train ZoomMIL where it is not trained, then write the maps of the test slides.

    The parameters are those of :func:`napari_zoommil.experiments.reproduce.reproduce`; ``mpp`` is not used.
    """
    extent = EXTENTS[preset]
    unit = zoommil(extent)
    bench, results = yield from trained(out, extent, data, [unit], only, device)
    maps: dict[int, dict[str, SlideMaps]] = {}
    for name in results:
        seed = int(name.rpartition("/")[2])
        maps[seed] = yield from _maps(bench, unit, seed)
    told = {str(seed): {name: one.told() for name, one in slides.items()} for seed, slides in maps.items()}
    drawn = _chosen(maps[min(maps)]) if maps else {}
    paths = {entry.slide.name: entry.slide for entry in bench.slides("test")}
    figures = {
        f"{Path(name).stem}.png": partial(_draw, slide=paths[name], maps=one) for name, one in drawn.items()
    }
    text = f"# {NAME}\n\n{about(bench, data, results)}\n{NOTE}\n{table(told)}\n"
    return written(NAME, preset, bench, results, text, figures, {"slides": told})


def _maps(bench: Bench, unit: Unit, seed: int) -> Job[dict[str, SlideMaps]]:
    """The maps of the test slides by a trained model."""
    mil, spec = load_model(bench.folder(unit, seed))
    slides, found = bench.slides("test"), {}
    outlines = [outline_beside(one.slide) for one in slides]  # a malformed one is told before the model runs
    for number, (one, outline) in enumerate(zip(slides, outlines, strict=True)):
        yield Progress(number, len(slides), f"maps of seed {seed}: {one.slide.name}")
        bag = bench.bag(one.slide, spec.encoder, unit.magnifications)
        found[one.slide.name] = maps_of(mil, bag, one.label, outline)
    return found


def _chosen(slides: Mapping[str, SlideMaps]) -> dict[str, SlideMaps]:
    """A few correct and a few wrong slides of each class."""
    groups: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for name, one in slides.items():
        groups[one.label, one.right].append(name)
    return {name: slides[name] for names in groups.values() for name in names[:PER_CLASS]}


def _draw(path: Path, slide: Path, maps: SlideMaps) -> None:
    with Slide.open(slide) as opened:
        write_figure(path, opened, maps)


def table(told: Mapping[str, Mapping[str, Any]]) -> str:
    """Means over the slides with a region, of correct and of wrong ones, for each head and magnification."""
    groups: dict[tuple[float, str, bool], list[dict[str, Any]]] = defaultdict(list)
    for slides in told.values():
        for slide in slides.values():
            for one in slide["maps"]:
                right = slide["predicted"] == slide["label"]
                groups[one["magnification"], one["head"], right].append(one)
    header = ["magnification", "attention for", "slides", "maps", "patches", "inside", "even", "AP", "chance"]
    return markdown_table(header, [_row(key, groups[key]) for key in sorted(groups, key=_order)])


def _order(key: tuple[float, str, bool]) -> tuple[str, bool, float]:
    magnification, head, right = key
    return head, not right, magnification


def _row(key: tuple[float, str, bool], maps: Sequence[Mapping[str, Any]]) -> list[str]:
    magnification, head, right = key
    ranked = [one for one in maps if one["precision"] is not None]
    return [
        magnification_name(magnification),
        {"attention": "pooling", "zoom": "zooming"}[head],
        "correct" if right else "wrong",
        str(len(maps)),
        f"{np.mean([one['patches'] for one in maps]):,.0f}",
        *(f"{_mean(one[name] for one in maps):.1%}" for name in ("inside", "expected")),
        *(
            f"{_mean(one[name] for one in ranked):.2f}" if ranked else DASH
            for name in ("precision", "chance")
        ),
    ]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
