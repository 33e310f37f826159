from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_zoommil.cells.haematoxylin import PUBLISHED, Haematoxylin, Stains, stain_vectors
from napari_zoommil.cells.model import as_images, load_cell_model, trainable
from napari_zoommil.cells.tiling import SAMPLE_PX, SAMPLES, sample_tiles
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs import detect, finetune, run
from napari_zoommil.jobs.detect import PUBLISHED_STAINS
from napari_zoommil.jobs.progress import Progress
from napari_zoommil.jobs.tissue import find_tissue
from napari_zoommil.slides import Slide


def mixed(vectors: np.ndarray, seed: int = 0, size: int = 128) -> np.ndarray:
    """An image of smooth random concentrations of two stains, (size, size, 3)."""
    rng = np.random.default_rng(seed)
    planes = gaussian_filter(rng.normal(0, 1, (2, size, size)), (0, 4, 4))
    planes = np.exp(2 * planes / planes.std((1, 2), keepdims=True)) * 0.4
    density = np.tensordot(planes.clip(0, 3), vectors, (0, 0))
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)


def unit(vectors: object) -> np.ndarray:
    array = np.asarray(vectors, float)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


@pytest.mark.parametrize("vectors", [PUBLISHED, ((0.55, 0.74, 0.39), (0.10, 0.82, 0.57))])
def test_the_stains_of_an_image_are_estimated(vectors: object) -> None:
    known = unit(vectors)
    stains = Haematoxylin().adapted([mixed(known)]).stains
    assert stains.estimated
    np.testing.assert_allclose(stains.vectors, known, atol=0.06)


def test_the_estimate_does_not_depend_on_how_tissue_is_cut() -> None:
    image = mixed(unit(PUBLISHED))
    whole = Haematoxylin(smoothing_um=0).adapted([image]).stains
    parts = Haematoxylin(smoothing_um=0).adapted([image[:40], image[40:]]).stains
    np.testing.assert_allclose(whole.vectors, parts.vectors, atol=1e-9)
    assert whole.threshold == pytest.approx(parts.threshold)


def test_one_stain_alone_and_glass_have_no_estimate() -> None:
    haematoxylin = unit(PUBLISHED)[[0, 0]]
    assert not Haematoxylin().adapted([mixed(haematoxylin)]).stains.estimated
    glass = np.full((128, 128, 3), 240, np.uint8)
    for samples in ([glass], []):
        stains = Haematoxylin().adapted(samples).stains
        assert not stains.estimated
        np.testing.assert_allclose(stains.vectors, unit(PUBLISHED))
    brown = unit(((0.27, 0.57, 0.78), (0.65, 0.70, 0.29)))  # DAB
    assert stain_vectors(-np.log((mixed(brown).reshape(-1, 3) + 1.0) / 256)) is None


def test_haematoxylin_is_separated_from_eosin() -> None:
    vectors = unit(PUBLISHED)
    weights = Stains(vectors).to_haematoxylin
    assert vectors[0] @ weights == pytest.approx(1) and vectors[1] @ weights == pytest.approx(0, abs=1e-9)


def test_tiles_with_a_margin_say_the_same_as_the_whole(data: Path) -> None:
    path = next((data / "tiles" / "tcga").rglob("309_30.png"))
    image = np.asarray(Image.open(path).convert("RGB"))
    network = Haematoxylin().adapted([image])
    whole = network(as_images(image[None]))[0, 0].numpy()
    top, left, size, margin = 100, 130, 120, network.margin
    part = image[top - margin : top + size + margin, left - margin : left + size + margin]
    inner = np.s_[margin : margin + size, margin : margin + size]
    told = network(as_images(part[None]))[0, 0].numpy()[inner]
    np.testing.assert_allclose(told, whole[top : top + size, left : left + size], atol=1e-3)


def test_the_original_keeps_its_stains() -> None:
    network = Haematoxylin()
    adapted = network.adapted([mixed(unit(PUBLISHED))])
    assert adapted is not network and not network.stains.estimated and adapted.margin == network.margin
    assert not list(network.parameters())


def test_a_slide_is_sampled_all_over_its_tissue(cmu: Path) -> None:
    with Slide.open(cmu) as slide:
        tiles = sample_tiles(slide, run(find_tissue(slide)), 0.5)
    assert len(tiles) == SAMPLES and all(tile.shape == (SAMPLE_PX, SAMPLE_PX, 3) for tile in tiles)


def test_detect_says_when_the_stains_are_not_those_of_the_slide(discs: tuple[Path, np.ndarray]) -> None:
    path, centres = discs
    steps: list[Progress] = []
    square = np.array([(0, 0), (0, 800), (640, 800), (640, 0)], float)
    found = run(detect(path, "haematoxylin", regions=[square], threads=1), steps.append)
    assert found.note == PUBLISHED_STAINS  # discs of a single stain
    assert any("stain vectors" in step.note for step in steps)
    distances = np.linalg.norm(found.finds.centres[:, None] - centres, axis=2)
    assert len(found.finds) == len(centres) and distances.min(0).max() < 3


def test_it_cannot_be_trained(discs: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    network, spec = load_cell_model("haematoxylin")
    with pytest.raises(ModelError, match=r"^haematoxylin .*no weights to train; fine-tune yollo or unet"):
        trainable(network, "haematoxylin")
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [100, 100]}, "properties": {}}
    points = tmp_path / "points.geojson"
    points.write_text(json.dumps({"type": "FeatureCollection", "features": [point]}))
    with pytest.raises(ModelError, match="no weights to train"):
        run(finetune(discs[0], points, "haematoxylin", out=tmp_path / "out"))
    assert spec.config["mpp"] == spec.mpp
