from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch

from napari_zoommil.annotations import Points
from napari_zoommil.annotations.regions import read_regions
from napari_zoommil.cells.export import write_detections
from napari_zoommil.cells.model import Finds, as_images, find, load_cell_model, save_cell_model
from napari_zoommil.cells.spec import CellSpec, read_cell_model
from napari_zoommil.errors import AnnotationError, MagnificationError, ModelError, NoTissueError
from napari_zoommil.jobs import Progress, detect, predict, run
from napari_zoommil.jobs.detect import Detection, tile_count
from napari_zoommil.slides import Slide
from napari_zoommil.slides.patching import Tissue

WHOLE = np.array([[0.0, 0.0], [0.0, 800.0], [640.0, 800.0], [640.0, 0.0]])


@pytest.fixture
def model(make_cell_model: Callable[..., str]) -> str:
    """Untrained, and so generous that it finds something everywhere."""
    name = make_cell_model()
    network, spec = load_cell_model(name)
    with torch.no_grad():
        network.head.weight[4] *= 40
    save_cell_model(Path(name), network, spec, "# Test\n")
    return name


@pytest.fixture
def detection(discs: tuple[Path, np.ndarray], model: str) -> Detection:
    return run(detect(discs[0], model, regions=[WHOLE], device="cpu", batch_size=2))


def test_tiles_find_what_the_whole_image_shows(
    discs: tuple[Path, np.ndarray], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_zoommil.cells.model.NMS_IOU", 0.99)  # greedy suppression runs along chains
    detection = run(detect(discs[0], model, regions=[WHOLE], device="cpu", batch_size=2))
    network, spec = load_cell_model(model)
    with Slide.open(discs[0]) as slide:
        pixels = slide.read(-40, -40, 720, 880, spec.mpp)
    (whole,) = find(network, spec, as_images(pixels[None]))
    centres = whole.centres - 40
    inside = ((centres >= 0) & (centres < (640, 800))).all(1)
    assert inside.sum() > 50
    expected = {tuple(place) for place in np.rint(centres[inside] * 4).tolist()}
    found = {tuple(place) for place in np.rint(detection.finds.centres * 4).tolist()}
    assert len(expected ^ found) <= 0.005 * len(expected), "but for rounding"


def test_counts_follow_the_threshold(detection: Detection) -> None:
    few, many = detection.counts(0.9), detection.counts(0.1)
    assert few["class 0"] < many["class 0"] == len(detection.finds)
    assert detection.area_mm2 == pytest.approx(640 * 800 * 0.25e-6)
    assert detection.per_mm2(0.1)["class 0"] == pytest.approx(many["class 0"] / detection.counted_mm2)


def test_densities_are_per_area_of_tissue(discs: tuple[Path, np.ndarray], model: str) -> None:
    mask = np.zeros((8, 10), bool)
    mask[:4] = True  # the upper half of the slide, 320 of 640 rows
    tissue = Tissue(mask, (80.0, 80.0))
    found = run(detect(discs[0], model, regions=[WHOLE], tissue=tissue, device="cpu"))
    assert found.area_mm2 == pytest.approx(0.128) and found.tissue_mm2 == pytest.approx(0.064)
    assert found.per_mm2()["class 0"] == pytest.approx(found.counts()["class 0"] / 0.064)
    assert found.extent == "tissue: 0.064 of 0.128 mm² searched" and found.area_kind == "tissue"
    glass = run(detect(discs[0], model, regions=[WHOLE / 4 + (400, 0)], tissue=tissue, device="cpu"))
    assert glass.tissue_mm2 == 0 and glass.counted_mm2 == glass.area_mm2 == pytest.approx(0.008)
    assert glass.area_kind == "searched area" and "none of it known as tissue" in glass.extent


def test_a_region_of_a_slide_is_searched_before_its_tissue_is_looked_for(cmu: Path, model: str) -> None:
    seen: list[Progress] = []
    region = np.array([(0, 0), (0, 600), (500, 600), (500, 0)])
    found = run(detect(cmu, model, regions=[region], device="cpu"), seen.append)
    assert 0 <= found.tissue_mm2 <= found.area_mm2 and found.mpp == pytest.approx((0.499, 0.499))
    places = [place for place, one in enumerate(seen) if "tissue" in one.note]
    assert all(place > 2 for place in places)


def test_only_the_region_is_searched(discs: tuple[Path, np.ndarray], model: str) -> None:
    region = WHOLE / 2 + (100, 100)
    found = run(detect(discs[0], model, regions=[region], device="cpu")).finds.centres
    assert len(found) and (found >= 100).all() and (found < (420, 500)).all()


@pytest.mark.parametrize(
    ("regions", "cells", "mm2"), [("region-with-bom", 112, 0.03), ("region-with-hole", 71, 0.02)]
)
def test_what_a_hole_cuts_out_of_a_region_is_not_searched(
    data: Path, regions: str, cells: int, mm2: float
) -> None:
    polygons = read_regions(data / "cases" / f"{regions}.geojson", origin=None)
    found = run(detect(data / "cases" / "slide20x.tif", regions=polygons, device="cpu"))
    assert found.area_mm2 == pytest.approx(mm2)
    assert found.counts()["nucleus"] == pytest.approx(cells, abs=1), "but for rounding"
    holes = [shapely.Polygon(one) for polygon in polygons for one in polygon.interiors]
    assert not any(shapely.contains_xy(hole, found.finds.centres).any() for hole in holes)


def test_a_region_over_the_edge_counts_as_far_as_it_lies_on_the_slide(
    discs: tuple[Path, np.ndarray], model: str
) -> None:
    over = run(detect(discs[0], model, regions=[WHOLE / 2 - (100, 100)], device="cpu"))
    within = run(detect(discs[0], model, regions=[np.clip(WHOLE / 2 - (100, 100), 0, None)], device="cpu"))
    assert over.area_mm2 == pytest.approx(220 * 300 * 0.25e-6)
    assert over.per_mm2() == within.per_mm2() and len(over.finds) == len(within.finds) > 0
    line = np.array([[100.0, 100.0], [100.0, 300.0], [100.0, 200.0]])
    for regions in ([WHOLE - (-640, 0), WHOLE - (0, 900)], [line]):
        with pytest.raises(AnnotationError, match=r"cover nothing of discs\.tif, which has 800 × 640 px"):
            run(detect(discs[0], model, regions=regions, device="cpu"))


def test_what_has_no_area_has_no_density(detection: Detection) -> None:
    assert replace(detection, area_mm2=0.0, tissue_mm2=0.0).per_mm2() == {"class 0": None}


def test_empty_glass_is_told_as_a_prediction_tells_it(
    make_slide: Callable[..., Path], make_model: Callable[..., str], model: str, tmp_path: Path
) -> None:
    glass, told = make_slide(tmp_path / "glass.tif", None), []
    for job in (detect(glass, model, mpp=0.5, device="cpu"), predict(glass, make_model((5.0, 10.0)))):
        with pytest.raises(NoTissueError, match=r"no tissue was found on glass\.tif") as error:
            run(job)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_a_slide_that_was_scanned_too_coarsely_is_refused(
    make_slide: Callable[..., Path], model: str, tmp_path: Path
) -> None:
    slide = make_slide(tmp_path / "slide.tif", (200, 90, 150))
    assert run(detect(slide, model, mpp=1.0, device="cpu")).area_mm2 > 0
    with pytest.raises(MagnificationError, match=r"at 2 µm/px \(about 5x\); this cell model needs 1 µm/px"):
        run(detect(slide, model, mpp=2.0, device="cpu"))


def test_without_regions_the_tissue_is_searched(cmu: Path, model: str) -> None:
    seen = []
    found = run(detect(cmu, model, device="cpu"), seen.append)
    assert 0.5 < found.area_mm2 < 1.65 and found.classes[0].name == "class 0"
    assert any("detecting tissue" in one.note for one in seen) or seen[1].total > 10
    partial = [one.partial for one in seen if one.partial is not None]
    assert seen[-1].done == seen[-1].total and abs(sum(map(len, partial)) - len(found.finds)) < 20


def test_progress_tells_the_cells_that_count(cmu: Path, model: str) -> None:
    network, spec = load_cell_model(model)
    save_cell_model(Path(model), network, replace(spec, threshold=0.55), "# Test\n")
    seen: list[Progress] = []
    region = np.array([(0, 0), (0, 900), (900, 900), (900, 0)])
    found = run(detect(cmu, model, regions=[region], device="cpu"), seen.append)
    searched = [one for one in seen if one.partial is not None]
    told = int(searched[-1].note.split(", ")[-1].removesuffix(" cells").replace(",", ""))
    counted = sum(found.counts().values())
    assert abs(told - counted) < 20 < counted < len(found.finds) - 100, "a cell on a seam may be told twice"


@pytest.mark.parametrize("where", ["region", "tissue", "everywhere"])
def test_the_tiles_of_a_search_are_known_before(cmu: Path, model: str, where: str) -> None:
    mask = np.zeros((30, 23), bool)
    mask[4:8, 4:10] = True
    tissue = Tissue(mask if where == "tissue" else np.ones_like(mask), (100.0, 100.0))
    regions = [np.array([(350, 350), (350, 460), (460, 460), (460, 350)])] if where == "region" else []
    seen: list[Progress] = []
    run(detect(cmu, model, regions=regions, tissue=tissue, device="cpu"), seen.append)
    with Slide.open(cmu) as slide:
        counted = tile_count(
            slide, read_cell_model(model).mpp, regions, tissue if where == "tissue" else None
        )
    assert counted == seen[-1].total > 0


def test_cancelling_ends_within_a_batch(discs: tuple[Path, np.ndarray], model: str) -> None:
    job = detect(discs[0], model, regions=[WHOLE], device="cpu", batch_size=1)
    for _ in range(3):
        next(job)
    job.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("tile-reader")]


def test_qupath_and_our_own_reader_understand_the_export(detection: Detection, tmp_path: Path) -> None:
    write_detections(tmp_path / "cells.geojson", detection.finds, detection.classes)
    features = json.loads((tmp_path / "cells.geojson").read_text())["features"]
    assert len({one["id"] for one in features}) == len(features) == len(detection.finds)
    assert features[0]["properties"]["classification"] == {"name": "class 0", "color": [0, 114, 178]}
    ring = features[0]["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] and len(ring) == 17
    points = Points.read(tmp_path / "cells.geojson")
    np.testing.assert_allclose(points.coordinates, detection.finds.centres, atol=0.02)


def test_a_mil_model_is_refused(discs: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(ModelError, match="is a MIL model"):
        run(detect(discs[0], "demo"))


def test_a_batch_that_is_too_much_for_the_device_is_halved(
    discs: tuple[Path, np.ndarray], model: str, detection: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holds(most: int) -> None:
        def within(network: torch.nn.Module, spec: CellSpec, images: torch.Tensor) -> list[Finds]:
            if len(images) > most:
                raise torch.OutOfMemoryError
            return find(network, spec, images)

        monkeypatch.setattr("napari_zoommil.cells.model.find", within)

    holds(1)
    found = run(detect(discs[0], model, regions=[WHOLE], device="cpu", batch_size=3))
    np.testing.assert_allclose(found.finds.boxes, detection.finds.boxes, atol=1e-3)
    holds(0)
    with pytest.raises(ModelError, match="cpu has too little memory for one tile"):
        run(detect(discs[0], model, regions=[WHOLE], device="cpu"))
