"""The cache that all slides share, and windows put together of tiles."""

from __future__ import annotations

import gc
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_zoommil.errors import SlideError, UnsupportedSlideError
from napari_zoommil.slides.readers import tiles as module
from napari_zoommil.slides.readers.base import RGB, shrunken
from napari_zoommil.slides.readers.tiles import (
    TILES,
    TileCache,
    TiledImage,
    TiledLevel,
    damage_note,
    identity,
)

RED = (200, 10, 20)


def pixels(height: int, width: int = 1) -> RGB:
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture(autouse=True)
def _nothing_decoded_yet() -> Iterator[None]:
    TILES.clear()
    yield
    TILES.clear()


@settings(deadline=None)
@given(asked=st.lists(st.tuples(st.integers(0, 9), st.just(None)), max_size=60), limit=st.integers(0, 40))
def test_the_least_recently_used_goes_first_and_the_bound_holds(
    asked: list[tuple[int, None]], limit: int
) -> None:
    """Against a plain model; the tile of key k has k + 1 px, of three bytes each."""
    cache, model, decoded = TileCache(3 * limit), OrderedDict[int, int](), []
    for key, _ in asked:

        def decode(key: int = key) -> RGB:
            decoded.append(key)
            return pixels(key + 1)

        if key + 1 > limit:  # kept beside the cache: the next test
            continue
        before = len(decoded)
        assert cache.get(key, decode).shape == (key + 1, 1, 3)
        assert (len(decoded) > before) == (key not in model)
        model[key] = key + 1
        model.move_to_end(key)
        while sum(model.values()) > limit:
            model.popitem(last=False)
        assert {k for k in range(10) if k in cache} == set(model)
        assert cache.nbytes == 3 * sum(model.values()) <= 3 * limit
    cache.clear()
    assert cache.nbytes == 0 and not any(key in cache for key in range(10))


def test_the_last_tile_that_is_too_large_is_kept() -> None:
    cache, decoded = TileCache(30), []

    def decode(key: str, height: int) -> RGB:
        def count() -> RGB:
            decoded.append(key)
            return pixels(height)

        return cache.get(key, count)

    decode("small", 5)
    for key in ("giant", "giant", "larger", "larger", "giant"):
        assert len(decode(key, 100 if key == "giant" else 200)) in (100, 200)
        assert cache.nbytes <= 15 + 3 * 200
    assert decoded == ["small", "giant", "larger", "giant"]
    assert "small" in cache and "giant" in cache and "larger" not in cache
    cache.clear()
    assert cache.nbytes == 0


def test_tiles_are_read_only() -> None:
    tile = TileCache(1000).get("key", lambda: pixels(3))
    with pytest.raises(ValueError, match="read-only"):
        tile[0] = 1


def test_what_is_kept_takes_no_more_memory_than_counts() -> None:
    cache = TileCache(1000)
    whole = pixels(5000)
    part = cache.get("part", lambda: whole[10:20])
    assert part.base is None and part.shape == (10, 1, 3) and cache.nbytes == 30
    raw = bytes(range(90))
    same = cache.get("same", lambda: np.frombuffer(raw, np.uint8).reshape(30, 1, 3))
    assert np.shares_memory(same, np.frombuffer(raw, np.uint8)), "nothing is copied without need"
    head = cache.get("head", lambda: np.frombuffer(raw, np.uint8)[:30].reshape(10, 1, 3))
    assert not np.shares_memory(head, np.frombuffer(raw, np.uint8)) and head[9, 0, 2] == 29


def test_what_belongs_to_an_owner_goes_with_it() -> None:
    cache = TileCache(30)
    for owner, number, height in (("a", 0, 2), ("b", 0, 2), ("a", 1, 2), ("a", 2, 100)):
        cache.get((owner, number), lambda height=height: pixels(height))
    cache.drop("a")
    assert ("b", 0) in cache and cache.nbytes == 6


def started(count: int, work: Callable[[], Any]) -> list[Any]:
    """What ``work`` gives in ``count`` threads that begin together."""
    together = threading.Barrier(count)

    def run(_: int) -> Any:
        together.wait(10)
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_what_many_threads_ask_for_is_decoded_once() -> None:
    cache, decoded, waiting = TileCache(1000), [], threading.Event()

    def decode() -> RGB:
        decoded.append(1)
        waiting.wait(0.05)  # the others come meanwhile
        return pixels(4)

    found = started(8, lambda: cache.get("key", decode))
    assert len(decoded) == 1 and all(tile is found[0] for tile in found)


def test_threads_that_want_different_tiles_do_not_wait_for_each_other() -> None:
    cache, both = TileCache(1000), threading.Barrier(2)

    def decode() -> RGB:
        both.wait(10)  # comes through only if two decode at once
        return pixels(1)

    keys = iter("ab")
    assert all(isinstance(tile, np.ndarray) for tile in started(2, lambda: cache.get(next(keys), decode)))


def test_a_decode_that_fails_is_tried_by_the_next() -> None:
    cache, tried = TileCache(1000), []

    def decode() -> RGB:
        tried.append(1)
        threading.Event().wait(0.01)
        if len(tried) < 3:
            raise OSError(f"failure {len(tried)}")
        return pixels(4)

    found = started(6, lambda: cache.get("key", decode))
    assert sorted(str(error) for error in found if isinstance(error, OSError)) == ["failure 1", "failure 2"]
    assert sum(isinstance(tile, np.ndarray) for tile in found) == 4 and len(tried) == 3
    assert cache._coming == {}, "nothing is left of a failure"


class Mosaic:
    """A tiled image over an array, which counts what is decoded; tiles overhang and may fail."""

    def __init__(self, image: RGB, tile: tuple[int, int], key: object = None) -> None:
        self.image, self.edges = image, tile
        self.decoded: list[tuple[int, int, int, int]] = []
        self.failures: dict[tuple[int, int], Exception] = {}
        name = key or ("mosaic", id(self), threading.get_ident())
        self.tiles = TiledImage(name, [TiledLevel(image.shape[:2], tile)], self.decode, RED)

    def shrunk(self, shrink: int) -> RGB:
        return self.image[::shrink, ::shrink]

    def decode(self, level: int, row: int, column: int, shrink: int) -> RGB:
        self.decoded.append((level, row, column, shrink))
        if (row, column) in self.failures:
            raise self.failures[row, column]
        height, width = (edge // shrink for edge in self.edges)
        part = self.shrunk(shrink)[row * height : (row + 1) * height, column * width : (column + 1) * width]
        out = np.full((height, width, 3), 77, np.uint8)  # what overhangs
        out[: part.shape[0], : part.shape[1]] = part
        return out


def noise(height: int, width: int) -> RGB:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=100, deadline=None)
@given(
    extent=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    tile=st.tuples(st.sampled_from([8, 16, 40]), st.sampled_from([8, 24, 32])),
    shrink=st.sampled_from([1, 2, 4, 8]),
    drawn=st.data(),
)
def test_any_window_is_a_crop_of_the_whole(
    extent: tuple[int, int], tile: tuple[int, int], shrink: int, drawn: st.DataObject
) -> None:
    mosaic = Mosaic(noise(*extent), tile, key=object())
    full = mosaic.shrunk(shrink)
    assert full.shape[:2] == shrunken(extent, shrink)
    (y0, y1), (x0, x1) = (
        sorted(drawn.draw(st.tuples(st.integers(0, edge), st.integers(0, edge)))) for edge in full.shape[:2]
    )
    window = mosaic.tiles.read(0, y0, x0, y1 - y0, x1 - x0, shrink)
    assert np.array_equal(window, full[y0:y1, x0:x1])
    assert len(set(mosaic.decoded)) == len(mosaic.decoded)
    assert np.array_equal(mosaic.tiles.read(0, 0, 0, *shrunken(extent, shrink), shrink), full)
    assert mosaic.tiles.damaged == 0


def test_a_tile_that_fails_is_background_and_counts_once_at_any_shrink() -> None:
    mosaic = Mosaic(noise(50, 70), (16, 16))
    mosaic.failures = {(1, 2): ValueError("corrupt"), (3, 4): EOFError("short")}
    expected = mosaic.image.copy()
    expected[16:32, 32:48] = expected[48:, 64:] = RED
    for _ in range(2):
        assert np.array_equal(mosaic.tiles.read(0, 0, 0, 50, 70), expected)
    assert mosaic.tiles.damaged == 2 and mosaic.decoded.count((0, 1, 2, 1)) == 1
    found = started(4, lambda: mosaic.tiles.read(0, 4, 8, 4, 4, 4))
    assert all((part == RED).all() for part in found)
    assert mosaic.tiles.damaged == 2 and mosaic.decoded.count((0, 1, 2, 4)) == 1
    assert np.array_equal(mosaic.tiles.read(0, 0, 0, 16, 16), mosaic.image[:16, :16])


def test_a_tile_of_too_few_pixels_is_damage() -> None:
    image = TiledImage("short", [TiledLevel((30, 30), (16, 16))], lambda *_: pixels(15, 16), RED)
    assert (image.tile(0, 0, 0) == RED).all() and image.tile(0, 0, 0).shape == (16, 16, 3)
    assert image.damaged == 1
    assert image.tile(0, 1, 1).shape == (14, 14, 3) and image.damaged == 1


@pytest.mark.parametrize("kind", [SlideError, UnsupportedSlideError])
def test_a_slide_that_cannot_be_read_at_all_is_no_damage(kind: type[SlideError]) -> None:
    mosaic = Mosaic(noise(50, 70), (16, 16))
    mosaic.failures = {(0, 1): kind("a.svs was closed")}
    for read in (lambda: mosaic.tiles.read(0, 0, 0, 20, 20), lambda: mosaic.tiles.tile(0, 0, 1)):
        with pytest.raises(kind, match=r"a\.svs was closed"):
            read()
    assert mosaic.tiles.damaged == 0
    mosaic.failures.clear()
    assert np.array_equal(mosaic.tiles.read(0, 0, 0, 50, 70), mosaic.image), "nothing of it was kept"


@pytest.mark.parametrize("extent", [(5, 160), (160, 5), (5, 5)])
def test_an_edge_tile_takes_no_more_memory_than_counts(extent: tuple[int, int]) -> None:
    mosaic = Mosaic(noise(*extent), (16, 160) if extent[1] == 160 else (160, 16))
    tile = mosaic.tiles.tile(0, 0, 0)
    holder = tile
    while isinstance(holder.base, np.ndarray):
        holder = holder.base
    assert holder.nbytes == tile.nbytes
    assert np.array_equal(tile, mosaic.image[:160, :160])


def test_handles_of_one_file_share_their_tiles_and_their_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.write_bytes(b"content")
    (tmp_path / "link.svs").symlink_to(path)
    image = noise(32, 32)
    first, second = (Mosaic(image, (16, 16), identity(p)) for p in (path, tmp_path / "link.svs"))
    first.failures = {(0, 1): ValueError("corrupt")}
    assert np.array_equal(first.tiles.read(0, 0, 0, 32, 32), second.tiles.read(0, 0, 0, 32, 32))
    assert len(first.decoded) == 4 and second.decoded == []
    assert first.tiles.damaged == second.tiles.damaged == 1
    path.write_bytes(b"more content")
    third = Mosaic(image, (16, 16), identity(path))
    assert np.array_equal(third.tiles.read(0, 0, 0, 32, 32), image)
    assert len(third.decoded) == 4 and third.tiles.damaged == 0


def test_the_tiles_of_a_file_go_with_its_last_handle() -> None:
    image = noise(32, 32)
    first, second, other = (Mosaic(image, (16, 16), key) for key in ("file", "file", "another"))
    for mosaic in (first, second, other):
        mosaic.tiles.read(0, 0, 0, 32, 32)
    assert TILES.nbytes == 2 * image.nbytes
    first.tiles.close()
    first.tiles.close()
    assert TILES.nbytes == 2 * image.nbytes
    second.tiles.close()
    assert TILES.nbytes == image.nbytes
    other.tiles.close()
    assert TILES.nbytes == 0


def test_a_tile_that_was_decoded_while_its_file_was_closed_is_not_kept() -> None:
    mosaic = Mosaic(noise(32, 32), (16, 16))
    mosaic.tiles._decode = lambda *_: mosaic.tiles.close() or pixels(16, 16)
    assert mosaic.tiles.tile(0, 0, 0).shape == (16, 16, 3)
    assert TILES.nbytes == 0


def test_damage_is_forgotten_with_the_last_handle() -> None:
    mosaic = Mosaic(noise(16, 16), (16, 16), "file")
    mosaic.failures = {(0, 0): ValueError("corrupt")}
    mosaic.tiles.tile(0, 0, 0)
    assert module.damage_of("file") == {(0, 0, 0)}
    del mosaic
    gc.collect()
    assert module.damage_of("file") == set()


def test_a_window_does_not_hold_the_tile_that_it_is_cut_from() -> None:
    mosaic = Mosaic(noise(64, 64), (64, 64))
    window = mosaic.tiles.read(0, 8, 8, 16, 16)
    assert window.base is None and np.array_equal(window, mosaic.image[8:24, 8:24])


def test_identity_tells_states_of_files_and_folders_apart(tmp_path: Path) -> None:
    path, other = tmp_path / "a.svs", tmp_path / "b.svs"
    for file in (path, other):
        file.write_bytes(b"content")
        os.utime(file, ns=(1, 1))
    states = [identity(path), identity(other), identity(tmp_path)]
    os.utime(path, ns=(1, 2))
    states += [identity(path), identity(tmp_path)]
    other.unlink()
    states.append(identity(tmp_path))
    assert len(set(states)) == len(states)
    assert identity(path) == identity(tmp_path / "." / "a.svs") == states[3]


def test_a_slide_is_refused_if_none_of_its_tiles_can_be_decoded() -> None:
    mosaic = Mosaic(noise(160, 160), (16, 16))
    places = [(row, column) for row in range(10) for column in range(10)]
    mosaic.failures = {place: ValueError("no such codec\nas this") for place in places}
    with pytest.raises(UnsupportedSlideError, match=r"^a\.svs cannot be decoded") as refused:
        mosaic.tiles.probe("a.svs")
    assert "no such codec" in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert len(mosaic.decoded) <= module.PROBES + 1
    del mosaic.failures[9, 9]
    mosaic.tiles.probe("a.svs")
    mosaic.failures[0, 0] = SlideError("gone")
    with pytest.raises(SlideError, match="gone"):
        mosaic.tiles.probe("a.svs")
    assert mosaic.tiles.damaged == 0


def test_a_giant_in_one_tile_is_not_decoded_to_be_opened() -> None:
    mosaic = Mosaic(noise(1, 1), (5000, 5000))
    mosaic.tiles.levels = (TiledLevel((5000, 5000), (5000, 5000)),)
    mosaic.tiles.probe("a.svs")
    assert mosaic.decoded == []


def test_damage_is_put_in_words() -> None:
    assert damage_note(0) == ""
    assert damage_note(1).startswith("1 damaged tile,")
    assert damage_note(1234).startswith("1,234 damaged tiles,")
