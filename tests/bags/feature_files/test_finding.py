from __future__ import annotations

from pathlib import Path

import pytest

from napari_zoommil.bags.feature_files.encoder_names import is_same_encoder, name_of_features, unstated
from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.errors import FeatureFileError, UnknownEncoderError


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(slide: str, *paths: Path, encoder: str | None = None) -> list[str]:
    of = FeatureFolders(paths, encoder).of(Path(slide))
    return [path.relative_to(paths[0]).as_posix() if path != paths[0] else path.name for path in of]


def test_folders_of_all_tools_are_understood(tmp_path: Path) -> None:
    files(
        tmp_path,
        "plain/a.h5",
        "clam/h5_files/a.h5",
        "clam/pt_files/a.pt",
        "clam/patches/a.h5",
        "stamp/x/a.h5",
    )
    assert found("a.svs", tmp_path / "plain") == ["a.h5"]
    assert found("slides/a.ome.tif", tmp_path / "clam") == ["h5_files/a.h5"]
    assert found("a.ndpi", tmp_path / "stamp") == ["x/a.h5"]
    assert found("b.svs", tmp_path / "plain/a.h5") == ["a.h5"]  # a file that is named is meant
    assert FeatureFolders(()).of(tmp_path / "plain/a.h5") == (tmp_path / "plain/a.h5",)


def test_a_folder_of_several_magnifications_gives_a_file_of_each(tmp_path: Path) -> None:
    for scale in ("5x", "20x"):
        files(tmp_path / f"{scale}_256px_0px_overlap", "patches/a_patches.h5", "features_uni_v1/a.h5")
    assert found("a.svs", tmp_path) == [
        f"{scale}_256px_0px_overlap/features_uni_v1/a.h5" for scale in ("20x", "5x")
    ]
    two = tmp_path / "5x_256px_0px_overlap"
    files(two, "features_conch_v15/a.h5")
    with pytest.raises(FeatureFileError, match="features of conch_v15, uni_v1; choose with --encoder"):
        found("a.svs", two)
    assert found("a.svs", two, encoder="hf-hub:MahmoodLab/UNI") == ["features_uni_v1/a.h5"]


def test_magnifications_without_the_wanted_features_are_passed_over(tmp_path: Path) -> None:
    """Their extraction is in progress, or was by another encoder; unless there are no others."""
    files(tmp_path / "20x_256px_0px_overlap", "features_uni_v1/a.h5", "features_conch_v15/a.h5")
    files(tmp_path / "10x_256px_0px_overlap", "features_uni_v1/a.h5", "features_conch_v15/.log")
    files(tmp_path / "5x_256px_0px_overlap", "patches/a_patches.h5")
    (tmp_path / "40x_256px_0px_overlap").mkdir()
    fine, coarse = "20x_256px_0px_overlap", "10x_256px_0px_overlap"
    assert found("a.svs", tmp_path, encoder="conch_v15") == [f"{fine}/features_conch_v15/a.h5"]
    uni = [f"{scale}/features_uni_v1/a.h5" for scale in (coarse, fine)]
    assert found("a.svs", tmp_path, encoder="uni") == uni
    with pytest.raises(FeatureFileError, match="choose with --encoder"):
        found("a.svs", tmp_path)
    empty = tmp_path / "new"
    (empty / coarse).mkdir(parents=True)
    with pytest.raises(FeatureFileError, match=r"10x_256px_0px_overlap holds no feature files"):
        found("a.svs", empty)


def test_what_is_missing_or_ambiguous_is_told(tmp_path: Path) -> None:
    files(tmp_path, "x/a.h5", "y/a.h5", "pt/a.pt", "none/readme.txt")
    with pytest.raises(
        FeatureFileError, match=r"a.svs has several feature files of its name \(x/a.h5 and y/a.h5\)"
    ):
        found("a.svs", tmp_path)
    files(tmp_path, "z/a.h5", "z/a.hdf5")
    with pytest.raises(FeatureFileError, match=r"\(z/a.h5 and z/a.hdf5\)"):
        found("a.svs", tmp_path / "z")
    with pytest.raises(FeatureFileError, match=r"no feature file of b.svs in x; it must be named b.h5"):
        found("b.svs", tmp_path / "x")
    with pytest.raises(FeatureFileError, match=r"no feature file of b.svs in no folder"):
        FeatureFolders(()).of(Path("b.svs"))
    with pytest.raises(FeatureFileError, match=r"pt holds no feature files.*pickles"):
        found("a.svs", tmp_path / "pt")
    with pytest.raises(FeatureFileError, match=r"none holds no feature files \(.h5\)$"):
        found("a.svs", tmp_path / "none")


@pytest.mark.parametrize(
    ("one", "other"),
    [("UNI_v1", "hf-hub:MahmoodLab/UNI"), ("resnet50", "ResNet-50"), ("h_optimus_0", "hoptimus0")],
)  # fmt: skip
def test_names_of_one_encoder(one: str, other: str) -> None:
    assert is_same_encoder(one, other) and is_same_encoder(other, one)
    assert not is_same_encoder(one, "uni_v2")


def test_what_files_do_not_state_is_told() -> None:
    """Outside TRIDENT's folders, that of the features alone says nothing for sure."""
    assert unstated([], "uni") == ""
    told = unstated([Path("features_conch_v15/a.h5")], "uni")
    assert told == (
        "a.h5 does not state the encoder; they are taken as features of uni, unchecked; their folder is "
        "named features_conch_v15"
    )
    assert "folder" not in unstated([Path("features_uni_v1/a.h5"), Path("features_uni_v1/b.h5")], "uni")


def test_the_encoder_is_never_guessed() -> None:
    assert name_of_features("a.h5", "uni_v1", None) == name_of_features("a.h5", "uni_v1", "UNI") == "uni_v1"
    assert name_of_features("a.h5", "", "uni") == "uni"
    with pytest.raises(UnknownEncoderError, match=r"a.h5 does not state the encoder.*--encoder"):
        name_of_features("a.h5", "", None)
    with pytest.raises(FeatureFileError, match="features of the encoder uni_v1, not of conch"):
        name_of_features("a.h5", "uni_v1", "conch")
