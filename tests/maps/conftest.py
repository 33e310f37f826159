from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_zoommil.bags import LazyBag
from napari_zoommil.encoders import load_encoder
from napari_zoommil.jobs import run
from napari_zoommil.jobs.zoom import zoom
from napari_zoommil.maps.recorded import RecordedPass
from napari_zoommil.models.blocks.attention import GatedAttention, attention_pool, evidence
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Pass, Step
from napari_zoommil.models.zoommil import ZoomMIL, ZoomMILOptions
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import detect_tissue, patch_grid

CPU = torch.device("cpu")


class Pooled(MILModel):
    """Pooling by attention at one magnification, with a linear classifier, in double precision."""

    def __init__(self, features: int = 3, classes: int = 2, magnifications: Any = (10.0,)) -> None:
        super().__init__(features, classes, magnifications, None)
        self.embed = nn.Sequential(nn.Linear(features, 8), nn.Tanh())
        self.attend = GatedAttention(8, 4, 0.0)
        self.classify = nn.Linear(8, classes)

    def steps(self, grid: Any) -> Pass:
        rows = np.arange(len(grid.levels[0]))
        embeddings = self.embed((yield Need(0, rows)).double())
        scores = 20 * self.attend(embeddings)  # far from even
        added = evidence(embeddings, scores[:, 0], self.classify)
        logits = self.classify(attention_pool(embeddings, scores[:, 0]))
        return MILOutput(logits, (Step(0, rows, scores, embeddings, evidence=added),))


@pytest.fixture
def pooled() -> MILModel:
    torch.manual_seed(0)
    model = Pooled().double().eval().requires_grad_(False)
    model.embed[0].weight.mul_(10)  # mean colours differ little
    return model


@pytest.fixture
def zooming() -> MILModel:
    """A ZoomMIL model with attention that is far from even."""
    torch.manual_seed(0)
    model = ZoomMIL(3, 2, (5, 10), ZoomMILOptions(3, hidden=8, attention=4)).eval().requires_grad_(False)
    for head in (*model.pool, *model.zoom):
        head.score.weight.mul_(100)
    return model


@pytest.fixture
def bag_at(tmp_path: Path) -> Iterator[Callable[..., LazyBag]]:
    """A bag of mean colours of a slide of random colours, at some magnifications."""
    import tifffile

    rng = np.random.default_rng(0)
    colours = rng.integers(60, 200, (12, 12, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    tifffile.imwrite(
        tmp_path / "colours.tif", colours, photometric="rgb", tile=(128, 128),
        resolution=(10_000, 10_000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    with Slide.open(tmp_path / "colours.tif") as slide:

        def make(*magnifications: float) -> LazyBag:
            grid = patch_grid(slide, detect_tissue(slide), magnifications, 32)
            return LazyBag(slide, grid, load_encoder("mean-rgb"), workers=1)

        yield make


@pytest.fixture
def record() -> Callable[[MILModel, LazyBag], RecordedPass]:
    """A pass of a model."""

    def make(model: MILModel, bag: LazyBag) -> RecordedPass:
        answered: list[Any] = []
        output = run(zoom(model, bag, CPU, answered=answered))
        needs, answers = zip(*answered, strict=True)
        again = partial(zoom, model, device=CPU, paint=False)
        return RecordedPass(model, bag, output, needs, answers, bag.slide.mpp, again)

    return make
