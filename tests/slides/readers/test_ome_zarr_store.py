"""Files of an OME-Zarr that are no files, or larger than what they can mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import UnsupportedSlideError
from napari_zoommil.slides import Slide
from napari_zoommil.slides.readers.ome_zarr_store import MOST_METADATA

RGB = np.random.default_rng(0).integers(0, 256, (60, 101, 3), np.uint8)


def exchange(path: Path, how: str) -> None:
    if how == "large":
        os.truncate(path, 20 << 30)  # a hole, which takes no room
    else:
        path.unlink()
        os.mkfifo(path) if how == "pipe" else path.symlink_to("/dev/zero")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.parametrize("how", ["large", "pipe", "device"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_metadata_are_read_up_to_a_size_and_from_files(ome_zarr, how: str, zarr_format: int) -> None:
    path = ome_zarr("a.zarr", RGB, zarr_format=zarr_format)
    name = "zarr.json" if zarr_format == 3 else ".zarray"
    exchange(path / "0" / name, how)
    why = f"larger than {MOST_METADATA >> 20} MB" if how == "large" else "a pipe, a socket or a device"
    with pytest.raises(UnsupportedSlideError, match=rf"^a\.zarr .*0/{name} is {why}$"):
        Slide.open(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.parametrize("how", ["large", "pipe", "device"])
def test_a_chunk_that_is_no_file_is_damaged(ome_zarr, how: str) -> None:
    path = ome_zarr("a.zarr", RGB)
    exchange(path / "0" / "0.0.0", how)
    with Slide.open(path) as slide:
        pixels = slide.read_level(0, 0, 0, 60, 101)
        assert slide.damaged == 1 and (pixels[:48, :48] == 255).all()
        assert np.array_equal(pixels[:, 48:], RGB[:, 48:])
