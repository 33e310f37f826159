"""BagNet on images of slides: where its evidence lies, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_zoommil.bags.need import NeedImage
from napari_zoommil.bags.pixels import PixelBag
from napari_zoommil.encoders import device
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import NATIVE, Box
from napari_zoommil.models import create
from napari_zoommil.models.blocks.bagnet import LAYERS
from napari_zoommil.models.mil import MILModel, drain
from napari_zoommil.models.registry import entry
from napari_zoommil.slides import Slide
from napari_zoommil.slides.image_grid import image_grid


def small(magnification: float = NATIVE, **options: Any) -> MILModel:
    torch.manual_seed(0)
    own = {"width": 1 / 16, "blocks": (1, 1, 1, 1), "norm": "batch", "receptive_field": 17} | options
    return create("bagnet", 3, 2, (magnification,), **own).eval()


@pytest.fixture
def canvas(tmp_path: Path) -> Path:
    path = tmp_path / "canvas.png"
    Image.fromarray(np.random.default_rng(0).integers(180, 220, (400, 420, 3)).astype(np.uint8)).save(path)
    return path


def evidence(model: MILModel, slide: Slide, box: Box, magnification: float) -> Any:
    """Evidence, with the level-0 middles of its rows and columns, and their distance."""
    bag = PixelBag(slide, image_grid(slide, magnification, box))
    with torch.no_grad():
        (plane,) = model(bag).planes
    assert plane.layer == LAYERS[-1] and plane.evidence is not None
    rows, columns = (
        origin + step * (np.arange(count) + 0.5)
        for origin, step, count in zip(plane.origin, plane.downsample, plane.evidence.shape[1:], strict=True)
    )
    return plane.evidence.numpy(), rows, columns


@pytest.mark.parametrize(("magnification", "scale"), [(NATIVE, 1.0), (20.0, 2.0)])
@pytest.mark.parametrize("strides", [(2, 2, 2, 1), (2, 2, 1, 1)])
def test_a_needle_has_its_evidence_where_it_lies(
    canvas: Path, magnification: float, scale: float, strides: tuple[int, ...]
) -> None:
    """Of all places, those change that see the needle, and no others."""
    model = small(magnification, pooling="mean", strides=strides)
    pixels, (y, x), half = np.asarray(Image.open(canvas)).copy(), (203, 262), 3
    box = Box(60, 85, 300, 310)
    with Slide.open(canvas, 0.25) as slide:
        before, rows, columns = evidence(model, slide, box, magnification)
    pixels[y - half : y + half, x - half : x + half] = (40, 0, 90)
    Image.fromarray(pixels).save(canvas)
    with Slide.open(canvas, 0.25) as slide:
        after, *_ = evidence(model, slide, box, magnification)
    changed = np.abs(after - before).max(0) > 1e-7
    reach = half + 17 * scale / 2  # from middle to middle; what is read at 20x is a mean of four pixels
    near = np.abs(rows - y)[:, None] < reach, np.abs(columns - x)[None] < reach
    assert (changed == (near[0] & near[1])).all() and changed.any()
    assert not changed.all()
    row, column = np.unravel_index(np.abs(after - before).max(0).argmax(), changed.shape)
    assert abs(rows[row] - y) <= reach and abs(columns[column] - x) <= reach


def test_planes_are_those_of_the_layers_and_reach_the_logits(canvas: Path) -> None:
    model = small()
    with Slide.open(canvas) as slide:
        output = model(PixelBag(slide, image_grid(slide, NATIVE, Box(10, 20, 60, 80))))
    assert tuple(plane.layer for plane in output.planes) == LAYERS
    slopes = torch.autograd.grad(output.logits[0], [plane.activation for plane in output.planes])
    assert all(slope.abs().sum() > 0 for slope in slopes)
    for plane, field in zip(output.planes, model.network.fields, strict=True):
        # the middle of the first value is that of the first field
        middle = [origin + step / 2 for origin, step in zip(plane.origin, plane.downsample, strict=True)]
        assert middle == [10 + field.size / 2, 20 + field.size / 2]
    assert [plane.evidence is None for plane in output.planes] == [True] * 4 + [False]
    total = output.planes[-1].evidence.sum((1, 2)) + model.network.classify.bias
    torch.testing.assert_close(total, output.logits)


def test_what_does_not_fit_is_refused_before_it_is_read(
    canvas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slide.open(canvas) as slide:
        whole, tiny = image_grid(slide, NATIVE), image_grid(slide, NATIVE, Box(0, 0, 16, 300))
    never: Callable = lambda need: pytest.fail("it was read")  # noqa: E731
    with pytest.raises(ModelError, match=r"too small for bagnet .* 17 px or more"):
        drain(small().steps(tiny), never)
    with pytest.raises(ModelError, match="25 px or more"):
        drain(small(norm="instance").steps(tiny), never)
    model, needed = small(), small().network.memory(400, 420)
    monkeypatch.setattr(device, "free_bytes", lambda _: needed)
    with pytest.raises(ModelError, match=r"explaining an image of 420 × 400 px .* smaller region"):
        drain(model.steps(whole), never)
    with torch.no_grad():
        assert isinstance(next(model.steps(whole)), NeedImage)
    two = replace(whole, levels=(replace(whole.levels[0], origins=np.zeros((2, 2))),))
    with pytest.raises(ModelError, match="the grid is one of patches"):
        next(model.steps(two))


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ModelError, match=r"no receptive field of 30 px .* 3, 5, 9, 17, 33, 177"):
        entry("bagnet").options({"receptive_field": 30})
    assert entry("bagnet").options({"blocks": ["1", "1", "1", "1"], "width": ".5"}).blocks == (1, 1, 1, 1)
    with pytest.raises(ModelError, match="one magnification"):
        create("bagnet", 3, 2, (5, 10))
    with pytest.raises(ModelError, match="it reads patches"):
        create("abmil", 3, 2, (NATIVE,))


def test_the_recipe_is_the_papers() -> None:
    recipe = entry("bagnet").recipe("paper")
    assert [share * recipe.epochs for share in recipe.milestones] == [80, 120, 160]
    assert (recipe.schedule, recipe.decay, recipe.accumulate) == ("steps", 0.1, 32)
    assert set(entry("bagnet").recipes) == {"default", "paper", "cpu"}
    for found in entry("bagnet").recipes.values():
        entry("bagnet").options(found.options)
