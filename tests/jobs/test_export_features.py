"""Features of a store as files of TRIDENT's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from napari_zoommil.bags import FeatureCache
from napari_zoommil.bags.feature_files.layouts import read_stated
from napari_zoommil.bags.feature_files.placing import Frame, place
from napari_zoommil.errors import FileError, StoreError
from napari_zoommil.jobs import embed, export_features, run
from napari_zoommil.jobs.embed import Embedding
from napari_zoommil.slides import Slide

SMALL: dict[str, Any] = {"magnifications": (10.0, 20.0), "patch_size": 64}


@pytest.fixture(scope="module")
def embedded(cmu: Path, tmp_path_factory: pytest.TempPathFactory) -> Embedding:
    return run(embed(cmu, "mean-rgb", store=tmp_path_factory.mktemp("store"), **SMALL))


def test_what_is_exported_comes_back(cmu: Path, embedded: Embedding, tmp_path: Path) -> None:
    store = embedded.store.parent
    for _ in range(2):  # the second time it is replaced
        export = run(export_features(cmu, "mean-rgb", store=store, out=tmp_path, **SMALL))
    assert [path.relative_to(tmp_path).as_posix() for path in (*export.features, *export.coordinates)] == [
        f"{scale}_64px_0px_overlap/{rest}"
        for rest in ("features_mean-rgb/CMU-1-Small-Region.h5", "patches/CMU-1-Small-Region_patches.h5")
        for scale in ("10x", "20x")
    ]
    assert export.patches == embedded.total
    bag = embedded.bag(FeatureCache(store))
    stated = [one for path in export.features for one in read_stated(path)]
    with Slide.open(cmu) as slide:
        placed = place(stated, Frame.of(slide, None, None))
    for level, (one, two) in enumerate(zip(placed.grid.levels, bag.grid.levels, strict=True)):
        np.testing.assert_allclose(one.origins, two.origins, atol=0.5)
        np.testing.assert_array_equal(one.parent, two.parent)
        assert (one.magnification, one.size) == (two.magnification, two.size)
        rows = np.arange(len(one))
        read = stated[level].read(placed.rows[level])
        np.testing.assert_array_equal(read, bag.features(level, rows).numpy())
        assert (stated[level].encoder, stated[level].encoder_hash) == ("mean-rgb", embedded.encoder.hash)


def test_attributes_are_those_of_trident(cmu: Path, embedded: Embedding, tmp_path: Path, data: Path) -> None:
    folder = data / "interop/features_h5/trident/20x_256px_0px_overlap"
    export = run(export_features(cmu, "mean-rgb", store=embedded.store.parent, out=tmp_path, **SMALL))
    theirs = (
        folder / "features_meanrgb/CMU-1-Small-Region.h5",
        folder / "patches/CMU-1-Small-Region_patches.h5",
    )
    for own, other in zip((export.features[1], export.coordinates[1]), theirs, strict=True):
        with h5py.File(own) as made, h5py.File(other) as real:
            assert set(made) == set(real)
            for name in real:
                assert set(real[name].attrs) <= set(made[name].attrs)
                for key in real[name].attrs:
                    assert type(made[name].attrs[key]) is type(real[name].attrs[key]), key
                assert made[name].dtype == real[name].dtype
            facts = dict(made["coords"].attrs)
    assert (facts["patch_size"], facts["patch_size_level0"], facts["level0_magnification"]) == (64, 64, 20)
    assert (facts["level0_width"], facts["level0_height"], facts["overlap"]) == (2220, 2967, 0)


def test_torchmil_reads_what_is_exported(cmu: Path, embedded: Embedding, tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchmil.datasets")
    run(export_features(cmu, "mean-rgb", store=embedded.store.parent, out=tmp_path, **SMALL))
    (tmp_path / "labels.csv").write_text("wsi_name,wsi_label\nCMU-1-Small-Region,1\n")
    read = datasets.TridentWSIDataset(
        f"{tmp_path}/20x_64px_0px_overlap/", str(tmp_path / "labels.csv"), feature_extractor="mean-rgb",
        patch_size=64, bag_keys=["X", "Y", "coords"], wsi_name_col="wsi_name", wsi_label_col="wsi_label",
    )  # fmt: skip
    bag, own = read[0], embedded.bag(FeatureCache(embedded.store.parent))
    level = own.grid.levels[1]
    np.testing.assert_array_equal(bag["X"].numpy(), own.features(1, np.arange(len(level))).numpy())
    places = bag["coords"].numpy() * 64  # x and y, from the first patch on
    expected = level.origins[:, ::-1]
    assert np.abs(places - places.min(0) - (expected - expected.min(0))).max() <= 1


def test_overlap_is_exported(cmu: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"magnifications": (10.0,), "patch_size": 128, "overlap": 32}
    made = run(embed(cmu, "mean-rgb", store=tmp_path / "store", **settings))
    export = run(export_features(cmu, "mean-rgb", store=tmp_path / "store", out=tmp_path, **settings))
    assert export.features[0].parent.parent.name == "10x_128px_32px_overlap"
    (stated,) = read_stated(export.features[0])
    (level,), (own,) = (
        place([stated], Frame()).grid.levels,
        made.bag(FeatureCache(tmp_path / "store")).grid.levels,
    )
    assert np.allclose(level.stride, own.stride) and level.stride[0] == level.size[0] * 0.75
    np.testing.assert_allclose(level.origins, own.origins, atol=0.5)


def test_what_is_lacking_is_told(cmu: Path, embedded: Embedding, tmp_path: Path) -> None:
    store = embedded.store.parent
    with pytest.raises(StoreError, match=r"no patches of CMU-1-Small-Region.svs with these settings"):
        run(export_features(cmu, "mean-rgb", store=store, out=tmp_path, patch_size=32))
    with pytest.raises(StoreError, match=r"lacks features by nic of .* at 10x, .* at 20x\); run embed"):
        run(export_features(cmu, "nic", store=store, out=tmp_path, **SMALL))
    assert not list(tmp_path.rglob("*.h5"))


def test_another_slide_of_the_same_name_is_not_replaced(
    cmu: Path, embedded: Embedding, tmp_path: Path
) -> None:
    store = embedded.store.parent
    (path, _) = run(export_features(cmu, "mean-rgb", store=store, out=tmp_path, **SMALL)).features
    with h5py.File(path, "a") as file:
        file["features"].attrs["fingerprint"] = "another"
    before = path.read_bytes()
    with pytest.raises(FileError, match=r"CMU-1-Small-Region.h5 is there already, and not of this slide"):
        run(export_features(cmu, "mean-rgb", store=store, out=tmp_path, **SMALL))
    assert path.read_bytes() == before


def test_an_image_has_each_patch_in_its_place(cmu: Path, embedded: Embedding, tmp_path: Path) -> None:
    store = embedded.store.parent
    for _ in range(2):
        export = run(
            export_features(cmu, "mean-rgb", store=store, out=tmp_path / "out", layout="array", **SMALL)
        )
    assert export.features[1] == tmp_path / "out" / "20x_64px" / "array_mean-rgb" / "CMU-1-Small-Region.npy"
    bag = embedded.bag(FeatureCache(store))
    for level, patches in enumerate(bag.grid.levels):
        image, facts = np.load(export.features[level]), json.loads(export.coordinates[level].read_text())
        assert image.dtype == np.float16 and list(image.shape) == facts["shape"]
        corner = np.array(facts["level-0 y and x of the first pixel"])
        step = np.array(facts["level-0 px per pixel, y and x"])
        features = bag.features(level, np.arange(len(patches))).numpy()
        places = np.rint((patches.origins - corner) / step).astype(int)
        np.testing.assert_array_equal(image[:, places[:, 0], places[:, 1]].T, features)
        image[:, places[:, 0], places[:, 1]] = 0
        assert not image.any()
    facts["fingerprint"] = "another"
    export.coordinates[1].write_text(json.dumps(facts))
    with pytest.raises(FileError, match="is there already, and not of this slide"):
        run(export_features(cmu, "mean-rgb", store=store, out=tmp_path / "out", layout="array", **SMALL))
