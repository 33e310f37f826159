"""Time of MIL models on a slide: reading, encoding, and the model itself, each by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from napari_zoommil.bags.reading import read_batches
from napari_zoommil.encoders import Encoder, load_encoder
from napari_zoommil.encoders.device import Device
from napari_zoommil.encoders.encoder import Preprocessing
from napari_zoommil.encoders.random_numbers import own_random_numbers
from napari_zoommil.experiments.zooming.published import SAMPLED, SAMPLES, DataSet, Published
from napari_zoommil.geometry import PatchGrid, Rows
from napari_zoommil.jobs import Job, Progress
from napari_zoommil.models import create
from napari_zoommil.models.registry import entry
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid

PATCH = 256
"""Edge of a patch in the paper, px."""

WIDTH, CLASSES = 1024, 3
BATCH = 128
"""Patches that are read, then encoded."""

TIMES = 3
"""Passes of which the time is the median."""

TRIAL = 16
"""Patches of noise by which the time of an encoder is predicted."""

LEAST_TISSUE = {"CRC": 0.5, "BRIGHT": 0.1, "CAMELYON16": 0.1}
"""Least tissue share of a patch (preprocessing of the authors' code)."""

ENCODER = "resnet50-random"
"""ResNet-50 up to its third block. Untrained: weights do not change what it costs."""


def resnet34() -> Encoder:
    """The encoder of the sampling models, untrained."""
    import timm

    with own_random_numbers(0):
        network = timm.create_model("resnet34", pretrained=False, num_classes=0)
    return Encoder("resnet34-random", network, Preprocessing(), 512)


@dataclass
class Clock:
    """Seconds spent on reading and on encoding, and the number of patches."""

    read: float = 0.0
    encode: float = 0.0
    patches: int = 0

    def told(self) -> dict[str, float]:
        return {"patches": self.patches, "read_s": self.read, "encode_s": self.encode}


class TimedBag:
    """A bag that times its reading and encoding, which do not overlap.

    Parameters
    ----------
    slide : Slide
    grid : PatchGrid
    encoder : Encoder
    """

    def __init__(self, slide: Slide, grid: PatchGrid, encoder: Encoder) -> None:
        self.slide, self.grid, self.encoder = slide, grid, encoder
        self.encoder_hash = ""
        self.clock = Clock()
        self._known: dict[int, tuple[NDArray[np.bool_], Tensor]] = {}

    def restart(self) -> Clock:
        """A clock that counts from now on."""
        self.clock = Clock()
        return self.clock

    def encode(self, level: int, rows: Rows) -> Generator[int, None, None]:
        """Read and encode those of ``rows`` that have no features yet; yields numbers of patches done."""
        known, features = self._level(level)
        missing = rows[~known[rows]]
        for first in range(0, len(missing), BATCH):
            chunk = missing[first : first + BATCH]
            began = time.perf_counter()
            pixels = next(read_batches(self.slide, self.grid, level, chunk, BATCH, workers=1))[1]
            read = time.perf_counter()
            features[chunk] = self.encoder(pixels).cpu()
            self.clock.read += read - began
            self.clock.encode += time.perf_counter() - read
            self.clock.patches += len(chunk)
            known[chunk] = True
            yield len(chunk)

    def features(self, level: int, rows: Rows) -> Tensor:
        for _ in self.encode(level, rows):
            pass
        return self._level(level)[1][rows]

    def _level(self, level: int) -> tuple[NDArray[np.bool_], Tensor]:
        if level not in self._known:
            count = len(self.grid.levels[level])
            self._known[level] = np.zeros(count, bool), torch.zeros(count, self.encoder.dim)
        return self._known[level]

    def beginning(self, magnifications: int) -> TimedBag:
        """A bag of the first magnifications that has the features of the lowest alone."""
        own = TimedBag(self.slide, replace(self.grid, levels=self.grid.levels[:magnifications]), self.encoder)
        own._known[0] = self._level(0)
        return own

    def at(self, magnifications: tuple[float, ...], rows: dict[int, Rows]) -> FeatureBag:
        """The features of some magnifications as a bag, of ``rows`` alone where it is a single one."""
        levels = [self.grid.magnifications.index(one) for one in magnifications]
        chosen = [self.grid.levels[level] for level in levels]
        arrays = [self._level(level)[1] for level in levels]
        if len(levels) == 1:
            own = rows[levels[0]]
            chosen, arrays = [chosen[0].chosen(own, np.full(len(own), -1))], [arrays[0][own]]
        return FeatureBag(replace(self.grid, levels=tuple(chosen)), tuple(arrays))


@dataclass(frozen=True, eq=False)
class FeatureBag:
    """A bag in memory."""

    grid: PatchGrid
    arrays: tuple[Tensor, ...]
    encoder_hash: str = ""

    def features(self, level: int, rows: Rows) -> Tensor:
        return self.arrays[level][rows]


def measure(data: DataSet, path: Path, device: Device) -> Job[dict[str, Any]]:
    """Measure all methods of a data set on a slide.

    Returns
    -------
    dict
        ``tissue_s``; ``pace``, seconds per patch of noise by encoder; ``levels``, all tissue patches of each
        magnification; ``methods``, in the order of the data set's rows: what is encoded at magnifications
        that are not read as a whole (``patches``, ``read_s``, ``encode_s``), the time of the model itself
        (``model_s``) and its ``multiply_adds``; ``device``, ``threads``.
    """
    encoder, small = load_encoder(ENCODER).to(device.torch), resnet34().to(device.torch)
    pace = {"resnet50": noise_pace(encoder), "resnet34": noise_pace(small)}
    with Slide.open(path) as slide:
        began = time.perf_counter()
        share = LEAST_TISSUE[data.name]
        grid = patch_grid(slide, detect_tissue(slide), data.magnifications, PATCH, share)
        tissue_s = time.perf_counter() - began
        bag = TimedBag(slide, grid, encoder)
        # A model of one magnification reads the patches with enough tissue; children have any.
        rows = {n: np.flatnonzero(level.tissue >= share) for n, level in enumerate(grid.levels)}
        total, done, levels = sum(map(len, grid.levels)), 0, []
        for number, level in enumerate(grid.levels):
            clock = bag.restart()
            for count in bag.encode(number, np.arange(len(level))):
                done += count
                yield _told(done, total)
            levels.append({"magnification": level.magnification, "tissue": len(rows[number]), **clock.told()})
        methods = []
        for row in data.rows:
            if row.method in SAMPLED:
                methods.append(_sampled(TimedBag(slide, grid, small)))
            else:
                methods.append(_method(row, model_of(row, data, device.torch), bag, rows))
            yield _told(done, total)
    return {
        "tissue_s": tissue_s,
        "pace": pace,
        "levels": levels,
        "methods": methods,
        "device": str(device.torch),
        "threads": torch.get_num_threads(),
    }


def _told(done: int, total: int) -> Progress:
    return Progress(done, total, f"{done:,} of {total:,} patches")


def noise_pace(encoder: Encoder) -> float:
    """Seconds to encode a patch, without any slide."""
    noise = np.random.default_rng(0).integers(0, 256, (TRIAL, PATCH, PATCH, 3), np.uint8)
    return typical_seconds(lambda: encoder(noise)) / TRIAL


def typical_seconds(work: Callable[[], Tensor]) -> float:
    """Median time of some work after a pass that is not timed, because the first one takes longer.

    A GPU is waited for, by fetching what the work returns.
    """
    work().cpu()
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work().cpu()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def model_of(row: Published, data: DataSet, device: torch.device) -> Any:
    """An untrained model with the paper's options, on a device."""
    options = dict(entry(row.method).recipe(data.name.lower()).options) | ({"k": row.k} if row.k else {})
    with own_random_numbers(0):
        model = create(row.method, WIDTH, CLASSES, row.magnifications, **options)
    return model.eval().to(device)


def _method(row: Published, model: Any, bag: TimedBag, rows: dict[int, Rows]) -> dict[str, Any]:
    """A model with the features that are there; ZoomMIL encodes what it zooms into anew.

    Features lie in memory; their way to the device of the model is part of its time.
    """
    zooms = row.method == "zoommil"
    own = bag.beginning(len(row.magnifications)) if zooms else bag.at(row.magnifications, rows)
    clock = own.clock if isinstance(own, TimedBag) else Clock()
    with torch.no_grad():
        # The first pass, which is not timed, encodes; the features are all there in the others.
        seconds = typical_seconds(lambda: model(own).logits)
        with FlopCounterMode(display=False) as counter:
            model(own)
    return {**clock.told(), "model_s": seconds, "multiply_adds": counter.get_total_flops() // 2}


def _sampled(bag: TimedBag) -> dict[str, Any]:
    """Random patches of the highest magnification; pooling them takes no time."""
    level = len(bag.grid.levels) - 1
    drawn = np.random.default_rng(0).permutation(len(bag.grid.levels[level]))[:SAMPLES]
    bag.features(level, np.sort(drawn))
    return {**bag.clock.told(), "model_s": 0.0, "multiply_adds": 0}
