"""Bytes of one file for many threads, whatever becomes of the file."""

from __future__ import annotations

import gc
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_zoommil.errors import SlideError
from napari_zoommil.slides.readers.shared_file import SharedFile, check_pages
from napari_zoommil.slides.slide import Slide

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.svs").write_bytes(CONTENT)
    return tmp_path / "a.svs"


def is_open(path: Path) -> bool:
    return any(Path(file.path) == path for file in psutil.Process().open_files())


def test_many_threads_read_without_a_common_position(path: Path) -> None:
    file = SharedFile(path)
    assert file.size == SIZE
    places = [(start, 100 + start % 57) for start in range(0, SIZE - 200, 13)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda place: file.fetch(*place), places * 3))
    assert parts == [CONTENT[start : start + size] for start, size in places] * 3


def test_a_position_is_shared_by_turns_where_the_system_knows_no_other_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pread", raising=False)
    test_many_threads_read_without_a_common_position(path)


@given(offset=st.integers(-(2**70), 2**70), size=st.integers(-(2**70), 2**70))
def test_a_damaged_index_asks_for_nothing(
    tmp_path_factory: pytest.TempPathFactory, offset: int, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "index.svs"
    path.write_bytes(CONTENT)
    file = SharedFile(path)
    if 0 <= offset <= offset + size <= SIZE:
        assert file.fetch(offset, size) == CONTENT[offset : offset + size]
    else:
        with pytest.raises(EOFError, match="ends too early"):
            file.fetch(offset, size)


def test_the_last_byte_is_there_and_the_next_is_not(path: Path) -> None:
    file = SharedFile(path)
    assert file.fetch(SIZE - 1, 1) == CONTENT[-1:]
    assert file.fetch(SIZE, 0) == file.fetch(0, 0) == b""
    for place in ((SIZE - 1, 2), (SIZE, 1), (-1, 1), (5, -1)):
        with pytest.raises(EOFError):
            file.fetch(*place)


def test_a_file_that_is_deleted_while_open_works_on(path: Path) -> None:
    file = SharedFile(path)
    path.unlink()
    assert file.fetch(1, 9) == CONTENT[1:10]


def test_a_file_that_is_replaced_while_open_keeps_its_old_bytes(path: Path, tmp_path: Path) -> None:
    file = SharedFile(path)
    (tmp_path / "new").write_bytes(b"n" * SIZE)
    os.replace(tmp_path / "new", path)
    assert file.fetch(0, SIZE) == CONTENT
    assert SharedFile(path).fetch(0, 3) == b"nnn"


def test_a_file_that_becomes_shorter_says_so_where_it_ends(path: Path) -> None:
    file = SharedFile(path)
    os.truncate(path, 1000)
    assert file.fetch(900, 100) == CONTENT[900:1000]
    for place in ((950, 100), (5000, 10)):
        with pytest.raises(EOFError, match="became shorter"):
            file.fetch(*place)


@pytest.mark.parametrize("name", ["missing.svs", "no/folder.svs", "."])
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(SlideError) as refused:
        SharedFile(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path.name} cannot be opened: ") and len(sentence.splitlines()) == 1


def test_bytes_the_system_no_longer_gives_are_the_slides_fault_not_a_tiles(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    file = SharedFile(path)
    monkeypatch.setattr(SharedFile, "_read", fail)
    with pytest.raises(SlideError, match=r"^a\.svs cannot be read any more: Input/output error$"):
        file.fetch(0, 1)


def test_closing_in_mid_read_fails_nobody_who_has_begun(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SharedFile(path)
    read = SharedFile._read

    def closed_meanwhile(self: SharedFile, *place: object) -> bytes:
        self.close()
        assert is_open(path), "another thread still reads"
        return read(self, *place)  # type: ignore[arg-type]

    monkeypatch.setattr(SharedFile, "_read", closed_meanwhile)
    assert file.fetch(10, 20) == CONTENT[10:30]
    assert not is_open(path)
    with pytest.raises(SlideError, match=r"^a\.svs was closed$"):
        file.fetch(10, 20)
    file.close()


def test_closing_lets_go_of_the_file_without_a_warning(path: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        file = SharedFile(path)
        assert is_open(path)
        file.close()
        assert not is_open(path)
        forgotten = SharedFile(path)
        del forgotten
        gc.collect()
    assert not is_open(path) and seen == []


@pytest.mark.timeout(30)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("first", [True, False])
def test_what_an_ome_tiff_names_is_not_opened(tmp_path: Path, first: bool) -> None:
    os.mkfifo(tmp_path / "other.tif")
    other = "<TiffData FirstT='{}' IFD='0' PlaneCount='1'><UUID FileName='other.tif'>urn:2</UUID></TiffData>"
    own = "<TiffData FirstT='{}' IFD='0' PlaneCount='1'/>"
    xml = (
        "<OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06' UUID='urn:1'><Image ID='Image:0'>"
        "<Pixels ID='Pixels:0' DimensionOrder='XYCZT' Type='uint8' SizeX='64' SizeY='64' SizeC='3' SizeZ='1' "
        "SizeT='2' Interleaved='true'><Channel ID='Channel:0:0' SamplesPerPixel='3'/>"
        f"{(own if first else other).format(0)}{(other if first else own).format(1)}</Pixels></Image></OME>"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels, photometric="rgb", tile=(32, 32), description=xml, metadata=None
    )
    if first:
        with Slide.open(tmp_path / "a.ome.tif") as slide:
            np.testing.assert_array_equal(slide.read_level(0, 0, 0, 64, 64), pixels)
    else:
        with pytest.raises(SlideError, match="has them in other files"):
            Slide.open(tmp_path / "a.ome.tif")


FAR = 5 << 30
"""Beyond what offsets of 32 bits reach; the files below have holes, and take no room."""


def page(entries: int, following: int, big: bool) -> bytes:
    """A page of equal entries, and where the next one begins."""
    if big:
        return (
            struct.pack("<Q", entries)
            + struct.pack("<HHQQ", 256, 4, 1, 9) * entries
            + struct.pack("<Q", following)
        )
    return (
        struct.pack("<H", entries)
        + struct.pack("<HHII", 256, 4, 1, 9) * entries
        + struct.pack("<I", following)
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_zoommil.slides.readers.shared_file.MOST_PAGES", 20)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("count", [20, 21])
def test_pages_are_counted_beyond_four_gigabytes(tmp_path: Path, count: int) -> None:
    path, step = tmp_path / "a.tif", 1 << 20
    with path.open("wb") as file:
        file.write(b"II" + struct.pack("<HHHQ", 43, 8, 0, FAR))
        for number in range(count):
            file.seek(FAR + number * step)
            file.write(page(3, FAR + (number + 1) * step if number < count - 1 else 0, True))
    if count == 20:
        check_pages(path)
    else:
        with pytest.raises(SlideError, match="has more than 20 pages"):
            check_pages(path)


def endless(path: Path, size: int, first: bytes = b"") -> Path:
    """A TIFF of 32-bit offsets whose pages, read as such, never end; and ``first`` in place of the first."""
    with path.open("wb") as file:
        file.write(b"II" + struct.pack("<HI", 42, 64))
        for number in range(30):
            file.seek(64 * (number + 1))
            file.write(page(3, 64 * (number + 2), False))
        if first:
            file.seek(64)
            file.write(first)
        file.truncate(size)
    return path


@pytest.mark.usefixtures("few")
def test_what_cannot_be_counted_is_not_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="has more than 20 pages"):
        check_pages(endless(tmp_path / "a.tif", 4096))
    check_pages(endless(tmp_path / "a.NDPI", 4096))
    check_pages(endless(tmp_path / "renamed.tif", FAR))  # offsets of 32 bits do not reach its end
    jpeg = bytes([0x55, 0xAA] * 30)
    check_pages(endless(tmp_path / "b.tif", 4096, jpeg))
    check_pages(endless(tmp_path / "c.tif", 4096, page(3, 5000, False)))  # beyond the end


def test_openslide_is_asked_for_what_cannot_be_counted(tmp_path: Path) -> None:
    with pytest.raises(SlideError) as refused:
        Slide.open(endless(tmp_path / "a.ndpi", FAR))
    assert "pages" not in str(refused.value)
