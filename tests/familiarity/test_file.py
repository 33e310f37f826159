from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from napari_zoommil.errors import ModelError
from napari_zoommil.familiarity import Familiarity, SlideSample, file, fitted


@pytest.fixture
def known(draw: Callable[..., np.ndarray], sample: Callable[..., SlideSample]) -> Familiarity:
    rng = np.random.default_rng(0)
    train = [sample(draw(rng), str(number), features=4) for number in range(10)]
    found = fitted(train, mpps=(0.5,), patch_size=64, encoder_hash="0123")
    assert found is not None
    return found


def test_it_is_read_back_as_it_was(known: Familiarity, sample, draw, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    content = file.to_bytes(known)
    (tmp_path / file.NAME).write_bytes(content)
    found = file.read_familiarity(tmp_path, file.hash_of(content))
    assert found is not None
    own = (known.mpps, known.patch_size, known.encoder_hash, known.shares, known.limit)
    assert own == (found.mpps, found.patch_size, found.encoder_hash, found.shares, found.limit)
    levels = sample(draw(np.random.default_rng(1)), features=4).levels
    np.testing.assert_array_equal(*(one.levels[0].strangeness(levels[0]) for one in (known, found)))
    assert found.verdict(levels) == known.verdict(levels)


def test_nearest_patches_are_read_back_too(sample, draw, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    train = [sample(draw(rng, grain=2 + 2 * (number % 2)), str(number)) for number in range(10)]
    known = fitted(train, mpps=(0.5,), patch_size=64, many_kinds=True)
    assert known is not None
    content = file.to_bytes(known)
    (tmp_path / file.NAME).write_bytes(content)
    found = file.read_familiarity(tmp_path, file.hash_of(content))
    (level,) = sample(draw(rng)).levels
    assert found is not None
    np.testing.assert_array_equal(*(one.levels[0].strangeness(level) for one in (known, found)))
    arrays = load(content)
    for points in (
        arrays["0.0.0.points"][:, 1:],
        arrays["0.0.0.points"][:0],
        arrays["0.0.0.points"] * np.nan,
    ):
        with pytest.raises(ValueError, match="do not belong together"):
            file._reference(arrays | {"0.0.0.points": points}, "0.0", (1.0,))


def test_later_trainings_are_read_back_too(known: Familiarity, sample, draw, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    coarse = [sample(draw(rng, grain=4), str(number), features=4) for number in range(10)]
    later = fitted(coarse, mpps=(0.5,), patch_size=64, encoder_hash="0123")
    assert later is not None
    both = known.after(later)
    content = file.to_bytes(both)
    (tmp_path / file.NAME).write_bytes(content)
    found = file.read_familiarity(tmp_path, file.hash_of(content))
    assert found is not None and found.shares == known.shares + later.shares
    for grain in (2, 4):
        assert found.verdict(sample(draw(rng, grain=grain), features=4).levels).share < 0.2
    brown = ((0.3, 0.6, 1.4), (1.0, 0.9, 0.4))
    assert found.verdict(sample(draw(rng, stains=brown), features=4).levels).share > 0.9


def test_a_folder_without_it(known: Familiarity, tmp_path: Path) -> None:
    assert file.read_familiarity(tmp_path, "") is None
    assert file.read_familiarity(tmp_path, "0" * 64) is None, "somebody took it out"
    (tmp_path / file.NAME).write_bytes(file.to_bytes(known))
    assert file.read_familiarity(tmp_path, "") is None, "the configuration does not vouch for it"


def changed(content: bytes, **head: object) -> bytes:
    length = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["head"])
    return save(load(content), {"head": json.dumps(told | head)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:-4], "cannot be used"),
        (lambda content: b"", "cannot be used"),
        (lambda content: save({"a": np.zeros(1, np.float32)}), "cannot be used"),
        (lambda content: changed(content, mpps=[]), "mpps"),
        (lambda content: changed(content, mpps=[1.0, 0.5]), "incomplete"),
        (lambda content: changed(content, shares=["many"]), "shares"),
        (lambda content: changed(content, residuals=[[[0.1]]]), "belong together"),
        (lambda content: changed(content, residuals=[[[0.1, 0.1, 0.1]]]), "2.mean"),
        (
            lambda content: save(
                {name: one[..., :-1].copy() for name, one in load(content).items()},
                {"head": json.dumps({"version": 1, "mpps": [0.5], "patch_size": 64, "encoder_hash": "0123",
                                     "shares": [], "residuals": [[[0.1, 0.1]]]})},
            ),
            "belong together",
        ),
    ],
)  # fmt: skip
def test_a_damaged_one_is_refused(
    known: Familiarity, tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    content = change(file.to_bytes(known))
    (tmp_path / file.NAME).write_bytes(content)
    with pytest.raises(ModelError, match=words) as refused:
        file.read_familiarity(tmp_path, file.hash_of(content))
    assert file.NAME in str(refused.value)


def test_another_one_than_was_written_is_refused(known: Familiarity, tmp_path: Path) -> None:
    (tmp_path / file.NAME).write_bytes(file.to_bytes(known))
    with pytest.raises(ModelError, match="not the one that was written with the model"):
        file.read_familiarity(tmp_path, "0" * 64)


def test_one_of_another_version_is_not_compared_with(known: Familiarity, tmp_path: Path) -> None:
    content = changed(file.to_bytes(known), version=2)
    (tmp_path / file.NAME).write_bytes(content)
    assert file.read_familiarity(tmp_path, file.hash_of(content)) is None
