from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_zoommil.bags.feature_files.export as module
from napari_zoommil.bags.feature_files.export import Exported, write_trident
from napari_zoommil.bags.feature_files.frame import Frame
from napari_zoommil.bags.feature_files.layouts import read_stated
from napari_zoommil.bags.feature_files.placing import place
from napari_zoommil.errors import FileError
from napari_zoommil.geometry import PatchLevel


@given(
    places=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, unique=True),
    patch_size=st.sampled_from([64, 224, 256]),
    overlap=st.integers(0, 60),
    scale=st.floats(0.5, 4.3),
    magnification=st.sampled_from([1.25, 10.0, 20.0]),
    ratio=st.sampled_from([1.0, 1.25, 0.7]),
)
def test_any_patches_come_back(
    places: list[tuple[int, int]],
    patch_size: int,
    overlap: int,
    scale: float,
    magnification: float,
    ratio: float,
) -> None:
    """Also where a patch is a fraction of level-0 px large, its corner then being rounded to the next px, or
    where such px are not square."""
    edge = patch_size * scale * np.array([ratio, 1])
    stride = edge * (1 - overlap / patch_size)
    lattice = np.array(sorted(places))
    count = len(lattice)
    level = PatchLevel(
        magnification, 10 / magnification, tuple(edge), tuple(stride), lattice * stride,
        np.full(count, -1), np.ones(count, np.float32),
    )  # fmt: skip
    features = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    far = (level.origins.max(0) + edge).astype(int) + 1
    slide = Exported("a", "print", (int(far[0]), int(far[1])), 40.0, "hf-hub:o/n", "0123", patch_size)
    with TemporaryDirectory() as folder:
        *_, (path, beside) = write_trident(Path(folder), slide, level, lambda rows: features[rows], 3)
        assert beside.parent.parent == path.parent.parent and beside.name == "a_patches.h5"
        assert path.parent.name == "features_hf-hub_o_n"
        (stated,) = read_stated(path)
        placed = place([stated], Frame())
        np.testing.assert_array_equal(stated.read(placed.rows[0]), features)
    (back,) = placed.grid.levels
    assert (back.magnification, placed.grid.patch_size, placed.grid.shape) == (
        magnification, patch_size, slide.shape,
    )  # fmt: skip
    assert (stated.encoder, stated.encoder_hash) == ("hf-hub:o/n", "0123")
    np.testing.assert_allclose(back.origins, level.origins, atol=0.5)
    np.testing.assert_allclose((*back.size, *back.stride), (*edge, *stride), rtol=1e-6)
    np.testing.assert_array_equal(back.lattice, level.lattice)


@pytest.mark.parametrize("count", [1, 5000])
def test_files_are_no_larger_than_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    lattice = np.stack([np.arange(count), np.zeros(count, int)], 1)
    level = PatchLevel(
        10.0, 1.0, (8, 8), (8, 8), lattice * 8.0, np.full(count, -1), np.ones(count, np.float32)
    )
    slide = Exported("a", "print", (8 * count, 8), 10.0, "nic", "0123", 8)
    features = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)

    def written() -> tuple[Path, Path]:
        *_, files = write_trident(tmp_path, slide, level, lambda rows: features[rows], 16)
        return files

    path, beside = written()
    places = 16 * count
    assert beside.stat().st_size <= places + module.LEAST_ROOM
    size = places + count * (4 * 16 + module.OVERHEAD) + module.LEAST_ROOM
    assert path.stat().st_size <= size
    before = path.read_bytes()
    monkeypatch.setattr(module, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    with pytest.raises(FileError, match=r"^a\.h5 cannot be written \(No space left.*free some space"):
        written()
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
