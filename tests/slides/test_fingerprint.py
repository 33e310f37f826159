"""A slide is known by its contents, wherever it lies and whatever it is called."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_zoommil.errors import SlideError
from napari_zoommil.slides.fingerprint import SAMPLE_BYTES, fingerprint
from napari_zoommil.slides.slide import Slide


def test_it_is_32_digits_of_the_contents_not_of_the_name(cmu: Path, tmp_path: Path) -> None:
    copy = tmp_path / "anonymous.svs"
    shutil.copyfile(cmu, copy)
    os.utime(copy, (0, 0))
    assert len(fingerprint(cmu)) == 32 and int(fingerprint(cmu), 16) > 0
    with Slide.open(cmu) as one, Slide.open(copy) as other:
        assert one.fingerprint == other.fingerprint == fingerprint(cmu)


@pytest.mark.parametrize("place", [0, SAMPLE_BYTES - 1, -1, -SAMPLE_BYTES])
def test_head_and_tail_count(tmp_path: Path, place: int) -> None:
    content = bytearray(3 * SAMPLE_BYTES)
    path = tmp_path / "slide"
    path.write_bytes(content)
    before = fingerprint(path)
    content[place] = 1
    path.write_bytes(content)
    assert fingerprint(path) != before


@pytest.mark.parametrize("size", [0, 1, SAMPLE_BYTES, SAMPLE_BYTES + 1, 2 * SAMPLE_BYTES])
def test_the_size_counts(tmp_path: Path, size: int) -> None:
    for name, length in (("a", size), ("b", size + 1)):
        (tmp_path / name).write_bytes(bytes(length))
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


def test_uncompressed_images_of_one_size_are_told_apart(ome_zarr) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 480, 480, 3), np.uint8)
    paths = [ome_zarr(f"{i}.zarr", image, zarr_format=3, compressors=None) for i, image in enumerate(images)]
    assert fingerprint(paths[0]) != fingerprint(paths[1])


def test_a_folder_is_known_wherever_it_lies_and_whoever_looked_into_it(ome_zarr, tmp_path: Path) -> None:
    path = ome_zarr("a.zarr", np.zeros((100, 100, 3), np.uint8))
    copy = tmp_path / "elsewhere" / "b.zarr"
    shutil.copytree(path, copy)
    (copy / ".DS_Store").write_bytes(b"x")
    (copy / "0" / "Thumbs.db").write_bytes(b"x")
    assert fingerprint(copy) == fingerprint(path)
    (copy / "1").write_bytes(b"x")
    assert fingerprint(copy) != fingerprint(path)


def test_a_slide_that_vanished_is_named(tiff) -> None:
    path = tiff("gone.tif", np.zeros((128, 128, 3), np.uint8))
    with Slide.open(path) as slide:
        path.unlink()
        with pytest.raises(SlideError, match=r"gone\.tif"):
            _ = slide.fingerprint
