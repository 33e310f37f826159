"""No file of a user's decides what is run: whatever is pickled in it stays so.

Encoders have their own tests: ``encoders/test_trust.py`` and ``jobs/test_loading.py``.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from napari_zoommil.annotations import Points
from napari_zoommil.errors import ModelError, SlideError, StoreError
from napari_zoommil.jobs import finetune, run
from napari_zoommil.slides import Slide


class Code:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return tmp_path / "proof"


def test_the_proof_would_be_seen(proof: Path) -> None:
    pickle.loads(pickle.dumps(Code(proof)))
    assert proof.exists()


def pickled_array(group: zarr.Group, name: str, proof: Path, dtype: str) -> None:
    """An array of zarr 2 whose metadata asks for unpickling."""
    array = group.create_array(
        name, shape=(3, 8, 8), chunks=(3, 8, 8), dtype="uint8", compressors=None, filters=None, overwrite=True
    )
    array[:] = 1
    folder = Path(str(group.store_path).removeprefix("file://")) / name
    told = json.loads((folder / ".zarray").read_text())
    told |= {"dtype": dtype, "compressor": {"id": "pickle", "protocol": 5}}
    if dtype == "|O":  # what hides the other codec from a look at the first alone
        told["filters"] = [{"id": "vlen-utf8"}]
    (folder / ".zarray").write_text(json.dumps(told))
    (folder / "0.0.0").write_bytes(pickle.dumps(Code(proof)))


@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_a_slide_of_zarr_arrays(tmp_path: Path, proof: Path, dtype: str) -> None:
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=2)
    group.attrs["multiscales"] = [{"axes": ["c", "y", "x"], "datasets": [{"path": "0"}]}]
    pickled_array(group, "0", proof, dtype)
    with pytest.raises(SlideError), Slide.open(tmp_path / "a.ome.zarr", 0.5) as slide:
        slide.read_level(0, 0, 0, 8, 8)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["lattice", "parent", "tissue", "done", "features"])
@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_a_feature_store(make_grid: Callable, tmp_path: Path, proof: Path, name: str, dtype: str) -> None:
    from napari_zoommil.bags import FeatureStore
    from napari_zoommil.bags.store import StoreKey

    path = tmp_path / "a.zarr"
    with zarr.config.set({"default_zarr_format": 2}):
        FeatureStore.create(path, StoreKey("a", "b", "c", "d"), make_grid(2, 2, (5.0,)), 3)
    pickled_array(zarr.open_group(path / "5x", mode="r+"), name, proof, dtype)
    with pytest.raises((StoreError, ValueError, RuntimeError)):
        opened = FeatureStore.open(path)
        opened.missing(0)
        opened.read(0)
    assert not proof.exists()


def test_features_that_were_kept(make_slide: Callable, tmp_path: Path, proof: Path) -> None:
    from napari_zoommil.bags.kept import KeptBag
    from napari_zoommil.encoders import load_encoder
    from napari_zoommil.slides.patching import detect_tissue, patch_grid

    with Slide.open(make_slide(tmp_path / "slide.tif", (200, 90, 150))) as slide:
        grid = patch_grid(slide, detect_tissue(slide), (5.0,), 32)
        first = KeptBag(tmp_path / "kept", slide, grid, load_encoder("mean-rgb"), workers=1)
        first.keep()
        np.savez(first.path, rows_0=np.array([Code(proof)], object), features_0=np.zeros((1, 3)))
        assert KeptBag(tmp_path / "kept", slide, grid, load_encoder("mean-rgb"), workers=1).encoded == (0,)
    assert not proof.exists()


def test_weights_of_a_model_folder(make_cell_model: Callable[..., str], discs, tmp_path: Path, proof) -> None:
    from napari_zoommil.cells.model import load_cell_model

    folder = Path(make_cell_model())
    torch.save(Code(proof), folder / "model.safetensors")
    with pytest.raises(ModelError, match="do not fit"):
        load_cell_model(folder)
    torch.save(Code(proof), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="is a single file"):
        load_cell_model(tmp_path / "model.pt")
    assert not proof.exists()


def test_a_training_that_was_cut_off(
    make_cell_model: Callable[..., str], discs: tuple[Path, np.ndarray], tmp_path: Path, proof: Path
) -> None:
    from napari_zoommil.annotations import CellClass

    points = Points(classes=[CellClass("disc", (0, 114, 178), 10.0)])
    points.add(discs[1][::2], 1)
    job = finetune(discs[0], points, make_cell_model(), out=tmp_path / "run", epochs=2, device="cpu")
    for progress in job:
        if "epoch 2" in progress.note:
            break
    job.close()
    checkpoint = tmp_path / "run" / "last.ckpt"
    torch.save(torch.load(checkpoint, weights_only=True) | {"more": Code(proof)}, checkpoint)
    with pytest.raises(ModelError, match=r"last\.ckpt is no checkpoint of a training.*without resuming"):
        run(
            finetune(
                discs[0], points, make_cell_model(), out=tmp_path / "run", epochs=2, device="cpu", resume=True
            )
        )
    assert not proof.exists()
