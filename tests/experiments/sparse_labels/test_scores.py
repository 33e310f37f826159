"""Scores at thresholds, against the metrics called one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_zoommil.cells.boxes import instance_boxes
from napari_zoommil.cells.metrics import aji, box_score, dice
from napari_zoommil.cells.model import as_images
from napari_zoommil.cells.outputs import BoxOutput
from napari_zoommil.cells.unet import UNet
from napari_zoommil.cells.yollo import YOLLO
from napari_zoommil.experiments.data.nuclei import Tile, read_tiles, thinned
from napari_zoommil.experiments.sparse_labels.scores import TRIED, matched_boxes, probability_map, scores_of


class Knows(UNet):
    """Says of each pixel how dark it is: between 0.1 and 0.4, so that 0.5 finds nothing."""

    def forward(self, images: Tensor) -> Tensor:
        darkness = 1 - images.mean(1, keepdim=True)
        return torch.logit(0.1 + 0.3 * (darkness > 0.5).float())


class Boxes(YOLLO):
    """Puts out what it was given."""

    def __init__(self, scores: np.ndarray, boxes: np.ndarray) -> None:
        super().__init__(width=2)
        self.given = torch.logit(torch.tensor(scores))[None, None], torch.tensor(boxes)[None]

    def forward(self, images: Tensor) -> BoxOutput:
        return BoxOutput(*self.given, self.given[1])


@pytest.mark.parametrize(("padding", "edge"), [("valid", 97), ("same", 97), ("valid", 388)])
def test_a_map_covers_the_tile_and_agrees_with_the_network_inside(padding: str, edge: int) -> None:
    torch.manual_seed(0)
    network = UNet(width=2, padding=padding).eval()
    image = np.random.default_rng(0).integers(0, 256, (edge, edge, 3)).astype(np.uint8)
    found = probability_map(network, image)
    assert found.shape == (edge, edge) and (found >= 0).all() and (found <= 1).all()
    if edge == 388:
        with torch.no_grad():
            inside = network(as_images(image[None, 4:-4, 4:-4]))[0, 0].sigmoid().numpy()
        assert inside.shape == (196, 196)
        # 92 px are mirrored, and 4 more make a multiple of 16, so that both are pooled alike.
        np.testing.assert_allclose(found[96:-96, 96:-96], inside, atol=1e-5)


def test_a_model_that_ranks_well_and_says_too_little(nuclei: Path) -> None:
    tiles = read_tiles(nuclei)
    sparse = [thinned(tile, 30, 0) for tile in tiles[:2]]
    scores = scores_of(Knows(width=2, padding="same"), sparse, tiles[2:4], 10, 0.25)
    assert scores["dice"]["half"] == 0 and scores["aji"]["half"] == 0
    assert 0.1 < scores["threshold"]["chosen"] <= 0.4, "sparse labels suffice to see it"
    assert scores["dice"]["oracle"] >= scores["dice"]["chosen"] > 0.95
    assert scores["aji"]["chosen"] > 0.8
    masks = [tile.image.mean(2) < 127.5 for tile in tiles[2:4]]
    expected = np.mean([dice(t.instances > 0, m) for t, m in zip(tiles[2:4], masks, strict=True)])
    assert scores["dice"]["chosen"] == pytest.approx(expected)


def random_finds(tile: Tile, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and boxes near to the tile's nuclei or anywhere."""
    rng = np.random.default_rng(seed)
    known = instance_boxes(tile.instances)[0]
    near = known[rng.integers(0, len(known), 30)] + rng.normal(0, 1.5, (30, 4))
    corner = rng.uniform(0, 54, (10, 2))
    boxes = np.concatenate([near, np.concatenate([corner, corner + 10], 1)])
    return rng.uniform(0.005, 0.99, 40), boxes


@pytest.mark.parametrize("seed", range(5))
def test_boxes_counted_at_once_are_those_counted_threshold_by_threshold(nuclei: Path, seed: int) -> None:
    tile = read_tiles(nuclei)[seed]
    scores, boxes = random_finds(tile, seed)
    matched = matched_boxes(Boxes(scores, boxes), tile)
    known = instance_boxes(tile.instances)[0]
    f1 = []
    for threshold in TRIED:
        counted = scores >= threshold
        score = matched.at(threshold)
        assert score == box_score(known, boxes[counted], scores[counted])
        f1.append(score.f1)
    assert len(set(f1)) > 5


def test_scores_of_boxes_name_the_price_of_recall(nuclei: Path) -> None:
    tile = read_tiles(nuclei)[0]
    scores, boxes = random_finds(tile, 0)
    sparse = thinned(tile, 30, 0)
    found = scores_of(Boxes(scores, boxes), [sparse], [tile], 10, 0.5)
    at = matched_boxes(Boxes(scores, boxes), sparse).at(0.5)
    assert found["exclusive_recall"]["half"] == at.recall
    area = (64 * 0.5 / 1000) ** 2
    assert found["predictions_per_mm2"]["half"] == pytest.approx(at.predictions / area)
    assert found["f1"]["oracle"] >= max(found["f1"]["half"], found["f1"]["chosen"])


def test_networks_are_judged_without_dropout(nuclei: Path) -> None:
    tiles = read_tiles(nuclei)
    torch.manual_seed(0)
    network: nn.Module = UNet(width=2, padding="same").train()
    first, second = (scores_of(network, tiles[:1], tiles[1:2], 10, 0.25) for _ in range(2))
    assert first == second and not network.training
    assert first["aji"].keys() == {"half", "chosen", "oracle"} and 0 <= first["aji"]["oracle"] <= 1
    assert aji(tiles[1].instances, tiles[1].instances) == 1
