"""Small made files in the layouts of the published data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from napari_zoommil.errors import CohortError
from napari_zoommil.experiments.data.nuclei_layouts import POINT_DIAMETER, entries, read_split

SHAPE = (40, 60)
INSTANCES = np.zeros(SHAPE, np.int32)
INSTANCES[4:14, 5:20] = 1
INSTANCES[20:35, 30:50] = 2


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SHAPE, 3), 200, np.uint8)).save(path)


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def hovernet(root: Path, part: str, number: int, suffix: str = ".png") -> None:
    picture(root / part / "Images" / f"{part.lower()}_{number}{suffix}")
    savemat(
        written(root / part / "Labels" / f"{part.lower()}_{number}.mat"),
        {"inst_map": INSTANCES.astype(float)},
    )


def consep(root: Path) -> None:
    for number in range(10):
        hovernet(root, "Train", number)
    hovernet(root, "Test", 1)


def kumar(root: Path) -> None:
    for part, count in (("train", 4), ("test_same", 2), ("test_diff", 1)):
        for number in range(count):
            hovernet(root, part, number, ".tif")


def cpm15(root: Path) -> None:
    for number in range(5):
        picture(root / f"image{number:02d}.png")
        text = "\n".join(map(str, [SHAPE[1], SHAPE[0], *INSTANCES.ravel()]))
        (root / f"image{number:02d}_mask.txt").write_text(f"{SHAPE[1]} {SHAPE[0]}\n" + text.split("\n", 2)[2])


def monuseg(root: Path) -> None:
    def rectangle(top: int, left: int, bottom: int, right: int) -> str:
        corners = ((top, left), (top, right), (bottom, right), (bottom, left))
        vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for y, x in corners)
        return f"<Region><Vertices>{vertices}</Vertices></Region>"

    regions = rectangle(4, 5, 14, 20) + rectangle(20, 30, 35, 50)
    text = f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"
    train, test = root / "MoNuSeg 2018 Training Data", root / "MoNuSegTestData"
    for number in range(4):
        picture(train / "Tissue Images" / f"TCGA-{number}.tif")
        written(train / "Annotations" / f"TCGA-{number}.xml").write_text(text)
    picture(test / "TCGA-9.tif")
    (test / "TCGA-9.xml").write_text(text)


@pytest.mark.parametrize(
    ("make", "sizes"),
    [(consep, (7, 3, 1)), (kumar, (3, 1, 3)), (cpm15, (3, 1, 1)), (monuseg, (3, 1, 1))],
)
def test_maps_and_splits(make: Callable[[Path], None], sizes: tuple[int, ...], tmp_path: Path) -> None:
    make(tmp_path)
    split = read_split(tmp_path)
    assert tuple(len(part) for part in split.values()) == sizes
    tiles = [tile for part in split.values() for tile in part]
    assert len({tile.name for tile in tiles}) == sum(sizes)
    for tile in tiles:
        assert tile.image.shape == (*SHAPE, 3)
        np.testing.assert_array_equal(tile.instances, INSTANCES)
    for tile in split["test"]:
        assert make is cpm15 or "test" in tile.name.lower()


def test_validation_images_that_are_given_validate(tmp_path: Path) -> None:
    monuseg(tmp_path)
    train = tmp_path / "MoNuSeg 2018 Training Data"
    for kind, suffix in (("Tissue Images", "tif"), ("Annotations", "xml")):
        source = train / kind / f"TCGA-3.{suffix}"
        source.rename(written(tmp_path / "validation" / kind / source.name))
    split = read_split(tmp_path)
    assert [len(part) for part in split.values()] == [3, 1, 1]
    assert [tile.name for tile in split["val"]] == ["validation/Tissue Images/TCGA-3"]


def test_tnbc_is_split_by_slide_and_its_masks_into_cells(tmp_path: Path) -> None:
    y, x = np.indices((80, 80))
    mask = (np.hypot(y - 40, x - 27) < 13.5) | (np.hypot(y - 40, x - 53) < 13.5)  # touching
    for slide in range(1, 6):
        for number in range(1, 4):
            name = f"{slide:02d}_{number}.png"
            Image.fromarray(np.full((80, 80, 3), 200, np.uint8)).save(
                written(tmp_path / f"Slide_{slide:02d}" / name)
            )
            Image.fromarray(mask.astype(np.uint8) * 255).save(written(tmp_path / f"GT_{slide:02d}" / name))
    split = read_split(tmp_path)
    assert [len(part) for part in split.values()] == [9, 3, 3]
    slides = [{tile.name.split("/")[0] for tile in part} for part in split.values()]
    assert [len(one) for one in slides] == [3, 1, 1] and len(set.union(*slides)) == 5
    for tile in split["train"]:
        assert tile.instances.max() == 2 and tile.instances[40, 27] != tile.instances[40, 53]
        np.testing.assert_array_equal(tile.instances > 0, mask)


def test_wbc_cells_are_larger(tmp_path: Path) -> None:
    y, x = np.indices((80, 200))
    mask = (np.hypot(y - 40, x - 50) < 35) | (np.hypot(y - 40, x - 150) < 35)
    for number in range(4):
        Image.fromarray(np.full((80, 200, 3), 200, np.uint8)).save(
            written(tmp_path / "train" / "images" / f"{number}.png")
        )
        Image.fromarray(np.repeat(mask[..., None] * np.uint8(255), 3, 2)).save(
            written(tmp_path / "train" / "masks" / f"{number}.png")
        )
    tiles = [tile for part in read_split(tmp_path).values() for tile in part]
    assert len(tiles) == 4 and all(tile.instances.max() == 2 for tile in tiles)


@pytest.mark.parametrize("layout", ["crchisto", "til"])
def test_points_become_discs(layout: str, tmp_path: Path) -> None:
    for number in range(5):
        if layout == "crchisto":
            place = tmp_path / "Detection" / f"img{number}"
            picture(place / f"img{number}.bmp")
            savemat(place / f"img{number}_detection.mat", {"detection": np.array([[13.0, 9.0], [41, 28]])})
        else:
            place = tmp_path / f"patient{number}"
            picture(place / "a.png")
            (place / "a.csv").write_text("x,y\n12.5,8.5\n40.5,27.5\n")
    tiles = [tile for part in read_split(tmp_path).values() for tile in part]
    assert len(tiles) == 5
    for tile in tiles:
        assert np.unique(tile.instances).tolist() == [0, 1, 2]
        assert (tile.instances[8, 12], tile.instances[27, 40]) == (1, 2)
        ys, xs = np.nonzero(tile.instances == 2)
        assert (ys.mean() + 0.5, xs.mean() + 0.5) == pytest.approx((27.5, 40.5), abs=0.5)
        assert len(ys) <= np.pi / 4 * (POINT_DIAMETER + 1) ** 2


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="known layout"):
        read_split(tmp_path)
    consep(tmp_path)
    (tmp_path / "Train" / "Labels" / "train_3.mat").write_bytes(b"no such file")
    with pytest.raises(CohortError, match=r"train_3\.mat"):
        read_split(tmp_path)
    savemat(tmp_path / "Train" / "Labels" / "train_3.mat", {"inst_map": np.zeros((3, 3))})
    with pytest.raises(CohortError, match=r"train_3\.mat is of shape"):
        read_split(tmp_path)


def test_pictures_without_annotation_and_annotations_are_left_out(tmp_path: Path) -> None:
    consep(tmp_path)
    picture(tmp_path / "Train" / "Overlay" / "train_1.png")
    assert len(list(entries(tmp_path))) == 11
