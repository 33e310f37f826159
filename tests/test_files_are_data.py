"""No file of a user's decides what is run: whatever is pickled in it stays so.

Encoders have their own tests: ``encoders/test_trust.py`` and ``jobs/test_loading.py``.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from napari_zoommil.annotations import Points
from napari_zoommil.errors import ModelError, SlideError
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


@pytest.mark.parametrize("name", ["origins", "features"])
@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_a_feature_cache(make_grid: Callable, tmp_path: Path, proof: Path, name: str, dtype: str) -> None:
    from napari_zoommil.bags import FeatureCache
    from napari_zoommil.bags.cache import EncoderKey

    level = make_grid(2, 2, (5.0,)).levels[0]
    group = FeatureCache(tmp_path).group("f" * 32, EncoderKey("a", "b"), level, 8)
    group.append(level.origins, np.ones((4, 3), np.float32))
    (part,) = group.folder.glob("part-*")
    replaced(part, name, proof, dtype)
    found = group.find(level.origins)
    assert not found.known.any() or np.isnan(found.read(np.arange(4))).all()
    group.append(level.origins, np.ones((4, 3), np.float32))
    assert not proof.exists()


@pytest.mark.parametrize("name", ["origins", "parent", "tissue"])
@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_patches_that_were_kept(
    make_grid: Callable, tmp_path: Path, proof: Path, name: str, dtype: str
) -> None:
    from napari_zoommil.bags.grids import read_grid, write_grid

    write_grid(tmp_path / "grid", make_grid(2, 2, (5.0,)))
    replaced(tmp_path / "grid" / "5x", name, proof, dtype)
    assert read_grid(tmp_path / "grid") is None
    assert not proof.exists()


@pytest.mark.parametrize("name", ["coords", "done", "features"])
@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_a_store_of_the_first_format(
    make_grid: Callable, tmp_path: Path, proof: Path, name: str, dtype: str
) -> None:
    from napari_zoommil.bags import FeatureCache
    from napari_zoommil.bags.cache import EncoderKey

    level = make_grid(2, 2, (5.0,)).levels[0]
    group = zarr.open_group(tmp_path / "a-ffffffff.a.zarr", mode="w")
    group.attrs.update({"format": 1, "fingerprint": "f" * 32, "encoder_hash": "b", "patch_size": 8})
    part = group.create_group("5x")
    part.attrs["stride"] = list(level.stride)
    for array, data in (("coords", level.origins), ("done", np.ones(1)), ("features", np.ones((4, 3)))):
        part.create_array(array, data=data)
    cache = FeatureCache(tmp_path)
    assert cache.group("f" * 32, EncoderKey("a", "b"), level, 8).find(level.origins).known.all()
    replaced(tmp_path / "a-ffffffff.a.zarr" / "5x", name, proof, dtype)
    found = cache.group("f" * 32, EncoderKey("a", "b"), level, 8).find(level.origins)
    assert not found.known.any() or np.isnan(found.read(np.arange(4))).all()
    assert not proof.exists()


def replaced(folder: Path, name: str, proof: Path, dtype: str) -> None:
    """Put an array that asks for unpickling in the place of one that is there."""
    shutil.rmtree(folder / name)
    pickled_array(zarr.open_group(folder.parent / "aside", mode="w", zarr_format=2), name, proof, dtype)
    shutil.move(folder.parent / "aside" / name, folder / name)


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
    with pytest.raises(ModelError, match=r"last\.ckpt is not a checkpoint of a training.*without resuming"):
        run(
            finetune(
                discs[0], points, make_cell_model(), out=tmp_path / "run", epochs=2, device="cpu", resume=True
            )
        )
    assert not proof.exists()
