"""Statistics of the patches that a MIL model was trained on, from its cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_zoommil.familiarity import Familiarity, SlideSample, fitted
from napari_zoommil.familiarity.descriptors import LEAST_EDGE
from napari_zoommil.geometry import Rows
from napari_zoommil.jobs.cohort_bags import Reading, Source
from napari_zoommil.jobs.familiarity import RowsRead, described
from napari_zoommil.jobs.feature_files import at_hand
from napari_zoommil.jobs.progress import Job, retold
from napari_zoommil.slides import Slide

if TYPE_CHECKING:
    from torch import Tensor

    from napari_zoommil.bags.bag import Bag
    from napari_zoommil.bags.need import Need, NeedImage
    from napari_zoommil.encoders.device import Device
    from napari_zoommil.models.mil import MILModel
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

PATCHES = 6_000
"""About how many training patches of a magnification the statistics are of."""

PER_SLIDE = (40, 200)
"""Least and most of them on a slide."""

MOST_SLIDES = {"train": 150, "val": 50, "test": 50}
"""Slides that are read for it; of more, a random sample is."""


def training_statistics(
    mil: MILModel,
    entries: Sequence[LabelledSlide],
    bags: Mapping[Path, Bag],
    reading: Reading,
    source: Source,
    device: Device,
) -> Job[Familiarity | None]:
    """Statistics of what a trained model reads on its training slides; None where that is too little,
    patches are too small to be described, or slides are not at hand.

    Slides of the other splits count as held out: how unlike they are tells what is usual for slides of this
    kind.
    """
    if reading.patch_size < LEAST_EDGE or not all(at_hand(one.slide) for one in entries):
        return None
    chosen = {split: _chosen(entries, split) for split in MOST_SLIDES}
    per_slide = int(np.clip(PATCHES / max(1, len(chosen["train"])), *PER_SLIDE))
    total, done = sum(map(len, chosen.values())), 0
    samples: dict[str, list[SlideSample]] = {split: [] for split in chosen}
    mil.to(device.torch).eval()
    for split, slides in chosen.items():
        for one in slides:
            done += 1
            title = f"statistics of the training: slide {done} of {total}"
            job = _sample(mil, one, bags[one.slide], reading, per_slide, bool(source.encoder))
            samples[split].append(
                (
                    yield from retold(job, lambda told, title=title: replace(told, note=title))  # type: ignore[misc]
                )
            )
    mil.cpu()
    mpps = [level.mpp for level in bags[chosen["train"][0].slide].grid.levels]
    held_out = samples["val"] + samples["test"]
    return fitted(
        samples["train"],
        held_out,
        mpps=mpps,
        patch_size=reading.patch_size,
        encoder_hash=source.encoder_hash,
    )


def _chosen(entries: Sequence[LabelledSlide], split: str) -> list[LabelledSlide]:
    own = [one for one in entries if one.split == split]
    places = np.random.default_rng(0).permutation(len(own))[: MOST_SLIDES[split]]
    return [own[place] for place in sorted(places.tolist())]


def _sample(
    mil: MILModel, one: LabelledSlide, bag: Bag, reading: Reading, count: int, has_features: bool
) -> Job[SlideSample]:
    features = (lambda level, rows: bag.features(level, rows).numpy()) if has_features else None
    with Slide.open(one.slide, reading.mpp, reading.icc) as slide:
        levels = yield from described(slide, bag.grid, rows_read(mil, bag), features, count)
    return SlideSample(one.group or str(one.slide), levels)


def rows_read(mil: MILModel, bag: Bag) -> tuple[Rows, ...]:
    """The patches of each magnification that a model reads in a pass; of an image, all of them."""
    import torch

    from napari_zoommil.bags.need import answer
    from napari_zoommil.models.mil import drain

    if mil.reads_all:
        return tuple(np.arange(len(level)) for level in bag.grid.levels)
    device, read = next(mil.parameters()).device, RowsRead(bag.grid)

    def told(need: Need | NeedImage) -> Tensor:
        read.note(need)
        return mil.fitting(answer(bag, need), need).to(device)

    with torch.no_grad():
        drain(mil.steps(bag.grid), told)
    return read.rows
