from __future__ import annotations

import json
import warnings
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
from napari_zoommil.jobs.encoder_result import _told
from napari_zoommil.jobs.train_encoder import EncoderTraining
from napari_zoommil.model_card import not_for_of
from napari_zoommil.model_folder import CARD, CONFIG, familiarity_of, read_card
from napari_zoommil.training.encoders.items import read_items
from napari_zoommil.training.encoders.pictures import coloured
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


def table_of(pictures: Path, folder: Path) -> Path:
    """A table of twelve pictures of as many patients, four of each split."""
    lines = ["image,split"]
    for number, split in enumerate(("train", "val", "test")):
        for name in ("benign", "tumour"):
            own = sorted((pictures / name).glob("*_0.png"))[2 * number : 2 * number + 2]
            lines += [f"{path},{split}" for path in own]
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


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
        (
            "image,group,split\n{0},a,train\n{1},a,val",
            r"group a is in the splits train \(line 2\) and val \(line 3\)",
        ),
        (
            "image,label,split\n{0},x,train\n{1},x,val\n{0},y,test",
            r"has the labels x \(line 2\) and y \(line 4\)",
        ),
        (
            "image,label,split\n{0},x,train\n{1},x,val\n{0},x,test",
            r"is in the splits train \(line 2\) and test \(line 4\)",
        ),
        ("image\n{0}\n{1}\n{0}", r"is listed 2 times \(line 2, line 4\); keep one line"),
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


def test_a_patient_of_the_pattern_is_in_one_split(pictures: Path, tmp_path: Path) -> None:
    first, second = sorted((pictures / "benign").glob("p00_*.png"))
    third = pictures / "benign" / "p01_0.png"
    table = tmp_path / "table.csv"
    table.write_text(f"image,split\n{first},train\n{second},test\n{third},val")
    assert len(read_items(table).items) == 3, "each file is its own patient"
    with pytest.raises(CohortError, match=r"group p00 is in the splits train \(line 2\) and test \(line 3\)"):
        read_items(table, r"p\d+")


def test_a_link_in_a_folder_is_not_another_picture(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x" / "a.png")
    (tmp_path / "x" / "b.png").symlink_to(tmp_path / "x" / "a.png")
    assert [one.path.name for one in read_items(tmp_path).items] == ["a.png"]
    (tmp_path / "y" / "a.png").symlink_to(tmp_path / "x" / "a.png")
    with pytest.raises(CohortError, match=r"a\.png has the labels x .* and y"):
        read_items(tmp_path)


def test_the_recipe_has_patches_to_train_and_to_validate_on(pictures: Path, tmp_path: Path) -> None:
    settings = replace(KNOWN["cpu"]["vae"], patches=(32, 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KNOWN["cpu"], "vae", settings)
        told = run(
            train_encoder(
                table_of(pictures, tmp_path), out=tmp_path / "out", device="cpu", min_tissue=0.0, steps=2
            )
        )
    assert told.patches == {"train": 4 * 8, "val": 4 * 3, "test": 4 * 3}


def test_pictures_with_few_patches_are_told_of(pictures: Path, tmp_path: Path) -> None:
    table, how = table_of(pictures, tmp_path), {"device": "cpu", "min_tissue": 0.0, "steps": 2}
    with pytest.warns(UserWarning, match="only 36 of 2,000 patches of 64 px to train on were found"):
        told = run(train_encoder(table, out=tmp_path / "few", patches=6_000, **how))
    assert told.patches["train"] == 4 * 9, "all that lie side by side in 200 px"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run(train_encoder(table, out=tmp_path / "enough", patches=120, **how))


def test_synthetic_recipes_are_grey(pictures: Path, tmp_path: Path) -> None:
    settings = replace(KNOWN["cpu"]["vae"], sizes=EncoderSizes(16, 1, (4, 8), 8, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KNOWN["synthetic"], "vae", settings)
        told = run(train_encoder(pictures, recipe="synthetic", out=tmp_path / "out", **QUICK | {"steps": 2}))
    assert json.loads((told.encoder / CONFIG).read_text())["sizes"]["channels"] == 1
    colours = picture(np.random.default_rng(1), 0, 32)[None]
    grey = coloured(colours, 1)
    assert grey.shape == (1, 32, 32, 1) and coloured(colours, 3) is colours
    np.testing.assert_allclose(grey[..., 0], colours.mean(-1), atol=0.5)
    encoder = load_encoder(str(told.encoder))
    np.testing.assert_allclose(encoder(colours).numpy(), encoder(np.repeat(grey, 3, 3)).numpy(), atol=0.05)


def test_pairs_of_pictures_are_adjacent_as_the_paper_has_it(pictures: Path, tmp_path: Path) -> None:
    told = run(train_encoder(pictures, method="contrastive", out=tmp_path / "out", **QUICK | {"steps": 2}))
    assert told.metrics["pairs_adjacent"] == 0.75
    assert "75% were adjacent patches and 25% of different" in read_card(told.encoder)


def test_a_patch_of_each_picture_on_average_is_drawn_in_pairs(pictures: Path, tmp_path: Path) -> None:
    paths = sorted(pictures.rglob("*.png"))
    lines = [f"{path},{'train' if number % 2 else 'val'}" for number, path in enumerate(paths)]
    (tmp_path / "table.csv").write_text("\n".join(["image,split", *lines]))
    asked = {**QUICK, "patches": len(paths), "steps": 2}
    told = run(train_encoder(tmp_path / "table.csv", method="contrastive", out=tmp_path / "out", **asked))
    assert told.patches == {"train": 16, "val": 16, "test": 0}
    assert told.metrics["pairs_adjacent"] == 0.75


def test_a_training_does_not_go_on_with_other_pictures(pictures: Path, tmp_path: Path) -> None:
    """Of the same number, and with the same number of patches."""
    table, asked = table_of(pictures, tmp_path), {**QUICK, "steps": 12, "out": tmp_path / "out"}
    job = train_encoder(table, **asked)
    for told in job:
        if told.note.startswith("step") and told.done > 3:
            break
    job.close()
    table.write_text(table.read_text().replace("_0.png", "_1.png"))
    with pytest.raises(ModelError, match="other data, settings"):
        run(train_encoder(table, resume=True, **asked))


def test_the_label_of_a_slide_is_for_the_probe(cmu: Path, tmp_path: Path) -> None:
    lines = ["slide,label,group,split"]
    for number, (label, split) in enumerate(
        [("x", "train"), ("y", "train"), ("x", "val"), ("x", "test"), ("y", "test")]
    ):
        other = tmp_path / f"{number}.svs"
        other.write_bytes(cmu.read_bytes())
        lines.append(f"{other.name},{label},{number},{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    told = run(
        train_encoder(tmp_path / "table.csv", out=tmp_path / "out", magnification=10, **QUICK | {"steps": 2})
    )
    assert 0 <= told.metrics["probe_accuracy"] <= 1
    assert "not decidable" in read_card(told.encoder), "two patients have no interval"
    assert json.loads((told.encoder / CONFIG).read_text()).get("classes", []) == []


def test_a_card_judges_by_the_interval_of_the_difference() -> None:
    def told(low: float, high: float) -> str:
        metrics = {"probe_accuracy": 0.8}
        for name in ("untrained", "colour"):
            metrics |= {f"probe_{name}_accuracy": 0.75, f"probe_minus_{name}": 0.05}
            metrics |= {f"probe_minus_{name}_low": low, f"probe_minus_{name}_high": high}
        return _told(metrics)

    assert "rightly: above the same network untrained (75.0%), difference +5.0% (+1.0% to +9.0%)" in told(
        0.01, 0.09
    )
    assert "below mean and standard deviation of colour" in told(-0.09, -0.01)
    assert told(-0.01, 0.09).count("not decidable against") == 2


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
    seen: list[Progress] = []
    known = run(train_encoder(pictures, method="vae", resume=True, **asked), seen.append)
    assert known == replace(result, trained_before=True)
    assert seen and not any(told.note.startswith("reading patches") for told in seen)
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
    (rows,) = balanced([labels], 43, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [3, 20, 20]


def test_classes_are_drawn_alike_over_all_slides() -> None:
    """Two slides without tumour, one with: as many of tumour as of normal tissue."""
    slides = [np.zeros(100, int), np.repeat([0, -1], [10, 50]), np.repeat([1, 0], [80, 30])]
    drawn = balanced(slides, 120, np.random.default_rng(0))
    found = [np.bincount(own[rows], minlength=2) for own, rows in zip(slides, drawn, strict=True)]
    assert np.sum(found, 0).tolist() == [60, 60]
    assert [one[0] for one in found] == [25, 10, 25]
    assert all((np.diff(rows) > 0).all() for rows in drawn)
    assert balanced([], 5, np.random.default_rng(0)) == []
    assert [len(rows) for rows in balanced([np.full(3, -1)], 5, np.random.default_rng(0))] == [0]


def test_patches_are_drawn_with_one_beside_each(make_grid: Any) -> None:
    from napari_zoommil.training.encoders.patches import beside

    level = make_grid(20, 20, (10.0,)).levels[0]
    rows = with_neighbours(level.lattice, 60, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == 60
    assert (beside(np.zeros(60, int), level.lattice[rows]) >= 0).mean() > 0.95
