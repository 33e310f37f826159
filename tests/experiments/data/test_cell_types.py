"""Nuclei and tiles are read; what is no such file is told, and no code of a file is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.experiments.data.cell_types import (
    CELLS,
    LABELS,
    TILES,
    cut,
    data_folder,
    read_cells,
    read_tiles,
)


def test_the_real_nuclei_and_tiles(data: Path) -> None:
    cells = read_cells(data)
    assert cells.pixels.shape == (7015, 27, 27, 3) and len(np.unique(cells.patients)) == 41
    assert cells.classes == ("epithelial", "fibroblast", "inflammatory", "others")
    assert np.bincount(cells.labels).tolist() == [3321, 1221, 1266, 1207]
    tiles, organs = read_tiles(data)
    assert len(tiles) == 30 and organs == ("brca", "coad") and {tile.slide for tile in tiles} == set(range(6))
    patches = cut(tiles, organs, 128)
    assert patches.pixels.shape == (30 * 16, 128, 128, 3)
    assert (patches.pixels[5] == tiles[0].pixels[128:256, 128:256]).all()
    assert (np.bincount(patches.patients) == 80).all()


def test_strings_alone_are_unpickled(histology: Path) -> None:
    assert read_cells(histology).classes == ("dark", "light")
    path = histology / CELLS
    with np.load(path, allow_pickle=True) as content:
        arrays = dict(content)

    class Harmful:
        def __reduce__(self) -> tuple:
            return (Path.touch, (histology / "was-run",))

    path.unlink()
    np.savez(path, **(arrays | {"cell_type": np.array([Harmful()] * len(arrays["images"]), object)}))
    with pytest.raises(CohortError, match="not allowed"):
        read_cells(histology)
    assert not (histology / "was-run").exists()
    assert pickle.loads(pickle.dumps(arrays["cell_type"])).dtype == object


def test_what_cannot_be_read(histology: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAPARI_ZOOMMIL_DATA", raising=False)
    with pytest.raises(CohortError, match="NAPARI_ZOOMMIL_DATA"):
        data_folder()
    assert data_folder(histology) == histology
    tile = next((histology / TILES).rglob("*.png"))
    tile.write_bytes(b"no picture")
    with pytest.raises(CohortError, match=tile.name):
        read_tiles(histology)
    (histology / TILES / LABELS).write_text("a,breast\nb,colon\n")
    with pytest.raises(CohortError, match="3 slides each"):
        read_tiles(histology)
    (histology / CELLS).write_bytes(b"no archive")
    with pytest.raises(CohortError, match="cannot be read"):
        read_cells(histology)
    (histology / CELLS).unlink()
    with pytest.raises(CohortError, match="has no"):
        data_folder(histology)
