from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.bags.feature_files.export import Exported, write_trident
from napari_zoommil.bags.feature_files.frame import Frame
from napari_zoommil.bags.feature_files.layouts import read_stated
from napari_zoommil.bags.feature_files.placing import place
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
