from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_zoommil.bags.feature_files.layouts import common_step, read_stated
from napari_zoommil.errors import FeatureFileError, StoreError

INTEROP = "interop/features_h5"


def lattice(rows: int, columns: int, step: float) -> NDArray[np.int64]:
    """(N, 2) x and y of a lattice, in raster order."""
    y, x = np.indices((rows, columns)).reshape(2, -1) * step
    return np.stack([x, y], 1).astype(np.int64)


def test_real_files_of_clam_and_trident_state_the_same_patches(data: Path) -> None:
    folder = data / INTEROP
    (theirs,) = read_stated(folder / "trident/20x_256px_0px_overlap/features_meanrgb/CMU-1-Small-Region.h5")
    (clam,) = read_stated(folder / "clam/h5_files/CMU-1-Small-Region.h5")
    assert (theirs.tool, clam.tool) == ("TRIDENT", "CLAM")
    assert (theirs.encoder, clam.encoder) == ("meanrgb", "")  # not "h5" of the folder features_h5
    assert (theirs.magnification, clam.magnification) == (20.0, None)
    assert (theirs.shape, theirs.step, clam.step) == ((2967, 2220), (256, 256), None)
    for one in (theirs, clam):
        assert (len(one), one.width, one.unit, one.patch_size, one.size) == (57, 6, "px", 256, (256, 256))
    assert np.array_equal(theirs.coordinates, clam.coordinates)
    with h5py.File(theirs.path) as file:  # x and y there
        assert np.array_equal(theirs.coordinates, file["coords"][:][:, ::-1])
        rows = np.array([5, 3, 56, 3])
        assert np.array_equal(theirs.read(rows), file["features"][:][rows])
    assert list(theirs.check()) == [57]


def test_patches_of_trident_keep_overlap_and_scale(trident: Callable[..., Path]) -> None:
    (one,) = read_stated(trident(overlap=64, encoder="uni_v1"))
    assert (one.size, one.step, one.encoder) == ((512, 512), (384, 384), "uni_v1")
    (by_scale,) = read_stated(trident(drop=("patch_size_level0",), patch_size=224))
    assert by_scale.size == (448, 448)


def test_folders_say_what_attributes_do_not(trident: Callable[..., Path]) -> None:
    lacking = ("patch_size", "overlap", "target_magnification", "encoder")
    path = trident("10x_512px_128px_overlap/features_conch_v15/s.h5", drop=lacking, level0_magnification=40)
    (one,) = read_stated(path)
    assert (one.magnification, one.patch_size, one.encoder) == (10.0, 512, "conch_v15")
    assert one.step == (384, 384)  # three quarters of the level-0 size that the attributes state


def test_attributes_may_be_bytes_texts_and_arrays(trident: Callable[..., Path]) -> None:
    path = trident(
        encoder=np.bytes_(b"uni_v2"),
        patch_size="256",
        patch_size_level0=np.array([512]),
        savetodir=h5py.Empty("f"),
    )
    (one,) = read_stated(path)
    assert (one.encoder, one.patch_size, one.size) == ("uni_v2", 256, (512, 512))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_features_of_other_types_are_converted(trident: Callable[..., Path], dtype: str) -> None:
    (one,) = read_stated(trident(features=np.arange(60).reshape(12, 5).astype(dtype)))
    read = one.read(np.array([11, 0]))
    assert read.dtype == np.float32 and np.array_equal(read, [[55, 56, 57, 58, 59], [0, 1, 2, 3, 4]])


STAMP = {
    "stamp_version": "2.3.0", "extractor": "mahmood-uni", "unit": "um", "tile_size_um": 256.0,
    "tile_size_px": 224, "code_hash": "ab", "feat_type": "tile",
}  # fmt: skip


def stamp(tmp_path: Path, write_h5: Callable[..., Path], coords: Any, **facts: Any) -> Path:
    said = {key: value for key, value in (STAMP | facts).items() if value is not None}
    feats = np.ones((len(coords), 4), np.float16)
    return write_h5(tmp_path / "s.h5", said, coords=(coords.astype(np.float32), {}), feats=(feats, {}))


def test_stamp_is_read_in_micrometres(tmp_path: Path, write_h5: Callable[..., Path]) -> None:
    (one,) = read_stated(stamp(tmp_path, write_h5, lattice(2, 3, 256)))
    assert (one.tool, one.unit, one.size, one.patch_size) == ("STAMP", "µm", (256, 256), 224)
    assert one.encoder == "mahmood-uni" and one.magnification == 10  # 1.14 µm/px
    assert np.array_equal(one.coordinates[4], (256, 256)) and np.array_equal(one.coordinates[1], (0, 256))


def test_first_version_of_stamp_is_told_by_its_step(tmp_path: Path, write_h5: Callable[..., Path]) -> None:
    old = dict.fromkeys(("stamp_version", "unit", "tile_size_um", "tile_size_px"))
    (pixels,) = read_stated(stamp(tmp_path, write_h5, lattice(2, 3, 224), **old))
    (microns,) = read_stated(stamp(tmp_path, write_h5, lattice(2, 3, 256), **old))
    assert np.allclose(pixels.coordinates, microns.coordinates)
    with pytest.raises(FeatureFileError, match="does not state the unit"):
        read_stated(stamp(tmp_path, write_h5, lattice(2, 3, 300), **old))
    with pytest.raises(FeatureFileError, match="whole slide"):
        read_stated(stamp(tmp_path, write_h5, lattice(2, 3, 256), feat_type="slide"))
    with pytest.raises(FeatureFileError, match="in mm, not in µm"):
        read_stated(stamp(tmp_path, write_h5, lattice(2, 3, 256), unit="mm"))


def test_paths_of_zoommil_are_unfolded_whatever_their_order(
    tmp_path: Path, write_h5: Callable[..., Path]
) -> None:
    fine = np.array([(2, 3, 1, 0, 0, 1), (2, 3, 0, 0, 1, 1)])
    datasets = {
        "10.0x_patches": (np.ones((2, 4), np.float32), {}),
        "10.0x_coords": (fine, {}),
        "2.5x_patches": (np.ones((1, 4), np.float32), {}),
        "2.5x_coords": (np.array([(2, 3)]), {}),
    }
    low, high = read_stated(write_h5(tmp_path / "s.h5", **datasets))
    assert (low.magnification, high.magnification, low.unit, high.lowest) == (2.5, 10.0, "patch", 2.5)
    assert np.array_equal(low.coordinates, [(2, 3)])
    assert np.array_equal(high.coordinates, [(10, 13), (9, 13)])  # (2·2+1)·2+0, (3·2+0)·2+1 …
    datasets["10.0x_coords"] = (np.array([b"2_3_1_0_0_1", b"2_3_0_0_1_1"], dtype="S"), {})
    assert np.array_equal(
        read_stated(write_h5(tmp_path / "t.h5", **datasets))[1].coordinates, high.coordinates
    )
    datasets["10.0x_coords"] = (fine + 2, {})
    with pytest.raises(FeatureFileError, match="no coordinates of ZoomMIL"):
        read_stated(write_h5(tmp_path / "u.h5", **datasets))


@pytest.mark.parametrize(
    ("scale", "coords", "said"),
    [
        ("10.0", np.array([b"2_3\xff", b"2_4"], dtype=h5py.string_dtype()), "no coordinates of ZoomMIL"),
        ("10.0", np.array([b"2_3\xff", b"2_4"]), "no coordinates of ZoomMIL"),
        ("10.0", np.int64(3), "has no coordinates of the 2 patches"),
        ("10.0", h5py.Empty("i"), "has no coordinates of the 2 patches"),
        ("0", np.array([(2, 3), (2, 4)]), "a magnification of 0,"),
        ("9" * 400, np.array([(2, 3), (2, 4)]), "a magnification of inf,"),
        ("10.0", np.array([(2, 3), (2, 1 << 40)]), r"coordinates of 1.\d*e\+12"),
    ],
)
def test_damaged_files_of_zoommil_are_told_in_a_sentence(
    tmp_path: Path, write_h5: Callable[..., Path], scale: str, coords: Any, said: str
) -> None:
    datasets = {f"{scale}x_patches": (np.ones((2, 4), np.float32), {}), f"{scale}x_coords": (coords, {})}
    with pytest.raises(FeatureFileError, match=rf"s.h5.* {said}"):
        read_stated(write_h5(tmp_path / "s.h5", **datasets))


def test_damaged_files_of_stamp_are_told_in_a_sentence(tmp_path: Path, write_h5: Callable[..., Path]) -> None:
    path = stamp(tmp_path, write_h5, lattice(2, 3, 256), tile_size_um=1e-300, tile_size_px=1e300)
    with pytest.raises(FeatureFileError, match=r"s.h5 states edges of tiles of 1e-300"):
        read_stated(path)


def test_texts_that_are_none_can_be_printed(trident: Callable[..., Path]) -> None:
    (one,) = read_stated(trident(encoder=np.array(b"uni\xff", dtype=h5py.string_dtype())))
    assert one.encoder == "uni\ufffd" and one.encoder.encode()


NAN = np.ones((12, 5), np.float32)
NAN[7, 2] = np.nan
TWICE = lattice(3, 4, 512)
TWICE[3] = TWICE[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": np.ones((12, 5), "S3")}, "not numbers"),
        ({"features": np.ones(5, np.float32)}, "one vector for the whole slide"),
        ({"features": np.ones((12, 3, 8, 8), np.uint8)}, "pixels of patches"),
        ({"features": np.ones((1, 12, 5), np.float32)}, "one row of values per patch"),
        ({"features": np.ones((0, 5), np.float32), "coords": lattice(0, 0, 1)}, "no patches"),
        ({"features": np.ones((11, 5), np.float32)}, "not x and y of 11 patches"),
        ({"coords": TWICE}, r"1 patches twice \(the first at x 0, y 0\)"),
        ({"coords": np.where(TWICE < 0, 0.0, np.inf)}, "no numbers"),
        ({"drop": ("patch_size", "patch_size_level0", "level0_magnification")}, "size of its patches"),
        ({"overlap": 256}, "cannot overlap by 256 px"),
        ({"overlap": -300}, "cannot overlap"),
        ({"patch_size": 0.2}, "edges of patches of 0,"),
        ({"patch_size_level0": 1e300}, r"edges of patches of 1e\+300, which is not in the range from 1"),
        ({"patch_size_level0": 0.1}, "edges of patches of 0.1"),
        ({"level0_width": 1e300}, r"a slide of 1e\+300"),
        ({"target_magnification": 1e-300}, "a magnification of 1e-300"),
        ({"coords": TWICE + np.arange(12)[:, None] * 500_000_000}, r"coordinates of 5.5\d*e\+09"),
        ({"coords": np.full((12, 2), b"\xff")}, "not x and y"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_in_a_sentence(
    trident: Callable[..., Path], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(FeatureFileError, match=said) as told:
        read_stated(trident(**change))
    assert str(told.value).startswith("s.h5") and isinstance(told.value, StoreError)


def test_features_that_are_not_finite_are_refused_when_they_are_read(trident: Callable[..., Path]) -> None:
    (one,) = read_stated(trident(features=NAN))
    assert one.read(np.array([0, 6, 8])).shape == (3, 5)
    for read in (lambda: one.read(np.array([0, 7])), lambda: list(one.check())):
        with pytest.raises(FeatureFileError, match=r"s.h5 has features that are NaN or infinite \(row 7\)"):
            read()
    huge = np.full((12, 5), 1e300)  # infinite as 32 bits
    (other,) = read_stated(trident(features=huge))
    with pytest.raises(FeatureFileError, match="infinite"), np.errstate(over="ignore"):
        other.read(np.array([0]))


def test_a_file_that_changes_while_it_is_used_is_told(trident: Callable[..., Path]) -> None:
    (one,) = read_stated(trident())
    trident(features=np.ones((12, 6), np.float32))
    with pytest.raises(FeatureFileError, match="has changed"):
        one.read(np.array([0]))


def test_other_files_are_refused(
    tmp_path: Path, trident: Callable[..., Path], write_h5: Callable[..., Path]
) -> None:
    cut = trident("cut.h5")
    cut.write_bytes(cut.read_bytes()[:1500])
    (tmp_path / "text.h5").write_text("x,y\n")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "s.pt").write_bytes(pickle.dumps([1]))
    with h5py.File(trident("no.h5"), "a") as file:
        del file["coords"]
    only = write_h5(tmp_path / "only.h5", coords=(lattice(2, 2, 256), {}))
    other = write_h5(tmp_path / "other.h5", x=(np.ones(3), {}))
    for path, said in {
        cut: "cannot be read as HDF5", tmp_path / "text.h5": "cannot be read as HDF5",
        tmp_path / "empty.h5": "is empty", tmp_path / "s.pt": r"is a pickle.*give the \.h5",
        tmp_path / "no.h5": "no coordinates", only: "without features", other: "it holds x",
        tmp_path / "gone.h5": "there is no feature file",
    }.items():  # fmt: skip
        with pytest.raises(FeatureFileError, match=said):
            read_stated(path)


def test_coordinates_beside_must_be_those_of_the_features(
    tmp_path: Path, write_h5: Callable[..., Path]
) -> None:
    coords, facts = lattice(2, 2, 256), {"patch_size": 128, "patch_level": 1, "downsample": (2.0, 2.5)}
    path = write_h5(tmp_path / "h5_files/s.h5", coords=(coords, {}), features=(np.ones((4, 3)), {}))
    write_h5(tmp_path / "patches/s.h5", coords=(coords, facts))
    (one,) = read_stated(path)
    assert one.size == (320, 256) and one.tool == "CLAM"  # downsample is x and y there
    write_h5(tmp_path / "patches/s.h5", coords=(coords + 1, facts))
    with pytest.raises(FeatureFileError, match=r"other coordinates than patches/s.h5"):
        read_stated(path)


def test_the_step_of_a_lattice_with_holes_is_found() -> None:
    places = lattice(6, 7, 96)[:, ::-1].astype(float)
    rng = np.random.default_rng(0)
    kept = places[rng.random(len(places)) < 0.7]
    assert common_step(kept).tolist() == [96, 96]
    assert common_step(places[:1]).tolist() == [0, 0]
