from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_zoommil.encoders import load_encoder
from napari_zoommil.encoders.convolutional import EncoderSizes
from napari_zoommil.encoders.partners import DecoderSizes
from napari_zoommil.errors import CohortError, MagnificationError, ModelError
from napari_zoommil.jobs import Progress, run, train_encoder
from napari_zoommil.jobs.embed import embed
from napari_zoommil.jobs.encoder_places import balanced, labels_of, with_neighbours
from napari_zoommil.jobs.train_encoder import EncoderTraining
from napari_zoommil.model_card import not_for_of
from napari_zoommil.model_folder import CARD, CONFIG, familiarity_of, read_card
from napari_zoommil.training.encoders.recipe import KNOWN
from napari_zoommil.training.run import RUN, read_curves

QUICK: dict[str, Any] = {"patches": 64, "device": "cpu", "min_tissue": 0.0}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Recipes of a few steps with tiny networks."""
    sizes = EncoderSizes(16, 3, (4, 8), 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        for method, known in KNOWN["cpu"].items():
            own = replace(
                known, sizes=sizes, decoder=DecoderSizes(8), head=8, batch=16, steps=6, steps_per_epoch=3
            )
            patch.setitem(KNOWN["cpu"], method, own)
        yield


def picture(rng: np.random.Generator, label: int, edge: int = 200) -> np.ndarray:
    """Stained noise; the classes differ in colour."""
    base = np.array([(190, 90, 170), (120, 60, 140)][label])
    return (base + rng.integers(-40, 40, (edge, edge, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of pictures of 200 px, of 8 patients with two pictures of a class each."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("benign", "tumour")):
        (root / name).mkdir()
        for patient in range(8):
            for number in range(2):
                pixels = picture(rng, label)
                Image.fromarray(pixels).save(root / name / f"p{label}{patient}_{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> EncoderTraining:
    out = tmp_path_factory.mktemp("encoders") / "by-names"
    job = train_encoder(
        pictures, method="supervised", out=out, group_pattern=r"p\d+", mpp=0.5, licence="cc0-1.0",
        **QUICK | {"patches": 600, "steps": 60, "input_size": 20, "code": 12},
    )  # fmt: skip
    return run(job)


def test_a_folder_of_pictures_becomes_an_encoder(trained: EncoderTraining) -> None:
    encoder = load_encoder(str(trained.encoder), trained.hash)
    assert encoder.dim == trained.code == 12
    config = json.loads((trained.encoder / CONFIG).read_text())
    assert config["kind"] == "encoder"
    assert config["classes"] == ["benign", "tumour"]
    assert (config["patch_size"], config["mpp"], config["licence"]) == (64, 0.5, "cc0-1.0")
    assert config["training"]["patches"] == trained.patches
    assert sum(trained.patches.values()) == 2 * 16 * 9  # of each picture the nine squares of 64 px


def test_classes_that_differ_in_colour_are_told_by_all_three_probes(trained: EncoderTraining) -> None:
    assert trained.metrics["probe_accuracy"] > 0.9
    assert trained.metrics["probe_colour_accuracy"] > 0.9
    assert "probe_untrained_accuracy" in trained.metrics


def test_the_folder_tells_what_it_is(trained: EncoderTraining) -> None:
    card = read_card(trained.encoder)
    assert not_for_of(card) == "Not for diagnosis."
    assert "license: cc0-1.0" in card
    assert "linear probe" in card
    assert (trained.encoder / CARD).is_file()
    assert 0 < len(read_curves(trained.encoder)) <= 20
    run_file = json.loads((trained.encoder / RUN).read_text())
    assert run_file["metrics"] == pytest.approx(trained.metrics)
    assert not list(trained.encoder.glob("*.ckpt"))


def test_statistics_of_the_training_are_kept(pictures: Path, trained: EncoderTraining) -> None:
    known = familiarity_of(trained.encoder, "encoder")
    if known is None:
        pytest.fail("no statistics were kept")
    assert (known.patch_size, known.encoder_hash) == (64, trained.hash)


def test_patients_are_in_one_part_only(pictures: Path, tmp_path: Path) -> None:
    from napari_zoommil.training.encoders.items import read_items

    items = read_items(pictures, r"p\d+")
    parted = items.parted(0, (0.15, 0.15), True)
    part_of: dict[str, set[str]] = {}
    for one in parted:
        part_of.setdefault(one.group, set()).add(one.split)
    assert len(part_of) == 16
    assert all(len(parts) == 1 for parts in part_of.values())
    for split in ("train", "val", "test"):
        assert {one.label for one in parted if one.split == split} == {"benign", "tumour"}


def test_a_table_states_labels_patients_and_splits(pictures: Path, tmp_path: Path) -> None:
    lines = ["image;label;group;split"]
    for name in ("benign", "tumour"):
        for patient in range(3):
            split = ("train", "val", "test")[patient]
            path = next((pictures / name).glob(f"p?{patient}_0.png"))
            lines.append(f"{path};{name.upper()};{name}{patient};{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    result = run(train_encoder(tmp_path / "table.csv", method="vae", out=tmp_path / "out", **QUICK))
    assert result.patches == {"train": 18, "val": 18, "test": 18}
    assert result.method == "vae"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("image,split\n{0},train", "its split needs train and val"),
        ("image,split\n{0},train\nmissing.png,val", "there is no image at"),
        ("image,split\n{0},teach", "not one of train"),
        ("image,group,split\n{0},a,train\n{1},a,val", "group a is in several splits"),
        ("image\n{0}", "1 group"),
        ("picture\n{0}", "column slide"),
    ],
)
def test_faults_of_a_table_are_told(pictures: Path, tmp_path: Path, lines: str, told: str) -> None:
    found = sorted(pictures.rglob("*.png"))
    (tmp_path / "table.csv").write_text(lines.format(*found))
    with pytest.raises(CohortError, match=told):
        run(train_encoder(tmp_path / "table.csv", out=tmp_path / "out", **QUICK))
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_picture_of_8_bits_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(np.full((64, 64), 3000, np.uint16)).save(tmp_path / f"{name}.png")
    with pytest.raises(CohortError, match=r"[ab]\.png is a picture of mode I;16"):
        run(train_encoder(tmp_path, out=tmp_path / "out", **QUICK))


def test_a_cancelled_training_goes_on_with_the_same_data_only(pictures: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {**QUICK, "steps": 12, "out": tmp_path / "out"}
    job = train_encoder(pictures, method="vae", **asked)
    for told in job:
        assert isinstance(told, Progress)
        if told.note.startswith("step") and told.done > 3:  # after the first epoch
            break
    job.close()
    assert (tmp_path / "out" / "last.ckpt").is_file()
    with pytest.raises(ModelError, match="other data, settings"):
        run(train_encoder(pictures, method="contrastive", resume=True, **asked))
    result = run(train_encoder(pictures, method="vae", resume=True, **asked))
    assert result.metrics["steps"] == 12
    with pytest.raises(ModelError, match="already"):
        run(train_encoder(pictures, method="vae", **asked))


def test_patches_are_kept_in_a_folder_and_read_again(pictures: Path, tmp_path: Path) -> None:
    results = [
        run(train_encoder(pictures, out=tmp_path / f"out{n}", data=tmp_path / "data", **QUICK))
        for n in (1, 2)
    ]
    assert results[0].hash == results[1].hash
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_a_real_slide_trains_an_encoder_that_embeds_it(cmu: Path, tmp_path: Path) -> None:
    """A slide in two formats as two patients: pairs of adjacent places need no more."""
    lines = ["slide,group", f"{cmu},a"]
    other = tmp_path / "other.svs"
    other.symlink_to(cmu)
    (tmp_path / "table.csv").write_text(
        "\n".join([*lines, f"{cmu.parent / 'CMU-1-Small-Region.ome.zarr'},b"])
    )
    result = run(
        train_encoder(
            tmp_path / "table.csv", method="contrastive", out=tmp_path / "made", magnification=10, **QUICK
        )
    )
    assert result.patches["train"] >= 24
    embedded = run(
        embed(
            cmu, str(result.encoder), magnifications=(5.0,), patch_size=128, store=tmp_path / "store",
            device="cpu",
        )
    )  # fmt: skip
    assert embedded.encoder.hash == result.hash
    assert embedded.encoder.name == "local-dir:made"
    with pytest.raises(MagnificationError):
        run(train_encoder(tmp_path / "table.csv", out=tmp_path / "fine", magnification=80, **QUICK))


def test_slides_are_labelled_by_their_regions(make_grid: Any) -> None:
    import shapely

    level = make_grid(4, 4, (10.0,)).levels[0]  # patches of 8 px
    left, corner = shapely.box(0, 0, 32, 16), shapely.box(0, 16, 5, 21)
    regions = {"tumour": left, "vessel": corner}
    classes = ("normal", "tumour", "vessel")
    found = labels_of(level, regions, None, classes).reshape(4, 4)
    assert found.tolist() == [[1, 1, -1, -1]] + [[1, 1, -1, -1]] * 3
    with_rest = labels_of(level, regions, "normal", classes).reshape(4, 4)
    assert (
        with_rest.tolist() == [[1, 1, -1, 0]] + [[1, 1, 0, 0]] * 3
    )  # a patch with a vessel is none of the rest


def test_classes_are_drawn_alike_as_far_as_they_go() -> None:
    labels = np.repeat([0, 1, 2, -1], [3, 50, 50, 20])
    rows = balanced(labels, 43, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [3, 20, 20]


def test_patches_are_drawn_with_one_beside_each(make_grid: Any) -> None:
    from napari_zoommil.training.encoders.patches import beside

    level = make_grid(20, 20, (10.0,)).levels[0]
    rows = with_neighbours(level, 60, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == 60
    assert (beside(np.zeros(60, int), level.lattice[rows]) >= 0).mean() > 0.95
