from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.annotations import CellClass, Points
from napari_zoommil.cells.tiling import OnTissue
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.errors import MagnificationError
from napari_zoommil.jobs import run
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide
from napari_zoommil.training.cells.framing import ELSEWHERE, Framing, elsewhere


@pytest.mark.parametrize("network", [YOLLO(width=2), UNet(width=2, padding="same")])
def test_a_padded_network_is_cut_what_the_recipe_says(network: YOLLO | UNet) -> None:
    assert Framing.of(network, 0.35, 160) == Framing(0.35, 160, 240, 0)


@pytest.mark.parametrize("crop", [60, 160, 256])
def test_the_output_of_an_unpadded_network_is_as_large_as_the_recipe_says(crop: int) -> None:
    network = UNet(width=2)
    found = Framing.of(network, 0.35, crop)
    taught, shown = network.output_size(found.crop), network.output_size(found.window)
    assert crop <= taught < crop + 16 and found.rim == 92
    assert 1.5 * taught <= shown < 1.5 * taught + 16


def test_windows_show_points_where_an_unpadded_network_has_output(discs: tuple[Path, np.ndarray]) -> None:
    points = Points(classes=[CellClass("disc", (0, 0, 255), 10.0)])
    points.add(discs[1], 1)
    framing = Framing.of(UNet(width=2), 0.5, 96)
    with Slide.open(discs[0]) as slide:
        plan = framing.plan(points, slide)
        windows = list(plan.read(slide))
        with pytest.raises(MagnificationError, match=r"this cell model needs 0\.4 µm/px or finer"):
            Framing.of(UNet(width=2), 0.2, 96).plan(points, slide)
    assert len(plan) == len(windows) and all(one.shape == (framing.window,) * 2 for one in windows)
    shown = np.concatenate([one.inner.centres + one.inner.origin for one in windows])
    assert {tuple(place) for place in shown.round(3).tolist()} == {
        tuple(place) for place in discs[1].round(3).tolist()
    }


def test_windows_elsewhere_lie_on_the_tissue(cmu: Path) -> None:
    points = Points(classes=[CellClass("nucleus", (0, 0, 255), 8.0)])
    points.add([[500.0, 500.0]], 1)
    with Slide.open(cmu) as slide:
        tissue = run(find_tissue(slide))
        plan = Framing.of(YOLLO(width=2), 0.35, 160).plan(points, slide)
        found, again, other = (elsewhere(plan, slide, tissue, seed) for seed in (0, 0, 1))
        own = slide.resolution()
        centres = (np.array(found.origins) + found.size / 2) * found.mpp / own
        assert len(found) == ELSEWHERE and found.origins == again.origins != other.origins
        assert OnTissue(tissue, slide.shape).contains(centres).mean() > 0.9, "px of the plan are rounded"
        nothing = replace(tissue, mask=np.zeros_like(tissue.mask))
        assert len(elsewhere(plan, slide, nothing, 0)) == 0
        (window,) = list(replace(found, origins=found.origins[:1]).read(slide))
        assert window.shape == (240, 240)
