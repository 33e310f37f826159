"""Who is writing an unfinished file."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_zoommil import unfinished_files

number = unfinished_files.machine.__wrapped__


def test_machines_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished_files, "user_cache_path", lambda _: tmp_path / "cache")
    numbers = []
    for content in ("1f", "2e", "uninitialized", "", None):
        path = tmp_path / f"id-{content}"
        if content is not None:
            path.write_text(f"{content}\n")
        monkeypatch.setattr(unfinished_files, "MACHINE_ID", path)
        numbers.append(number())
        assert number() == numbers[-1], "the same in each process"
    assert len({*numbers[:3]}) == 3 and len({*numbers[2:]}) == 1
    (tmp_path / "cache" / "machine").unlink()
    (tmp_path / "cache" / "machine").mkdir()
    assert number() != number(), "nothing can be kept, nothing is swept"
