"""Folders of images as cohorts."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_zoommil.errors import CohortError
from napari_zoommil.training.mil.cohort import Columns, parse_cohort
from napari_zoommil.training.mil.folders import labelled_pictures, pictures_in


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/1.JPG", "a/1.tif", "a/notes.txt", "a/.hidden.png", ".git/x.png", "read.me")
    found = parse_cohort(tmp_path)
    assert [(str(one.slide.relative_to(tmp_path)), one.label, one.split, one.line) for one in found] == [
        ("a/1.tif", "a", "", 1),
        ("b/1.JPG", "b", "", 2),
        ("b/2.png", "b", "", 3),
    ]
    assert len({one.group for one in found}) == 3 and not found.faults()
    assert [one.name for one in pictures_in(tmp_path / "b")] == ["1.JPG", "2.png"]


def test_folders_of_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png")
    found = labelled_pictures(tmp_path)
    assert [(one.label, one.split) for one in found] == [
        ("a", "train"), ("b", "train"), ("a", "val"), ("b", "val"),
    ]  # fmt: skip
    assert not parse_cohort(tmp_path).faults()


def test_what_is_no_such_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    with pytest.raises(CohortError, match="folder for each class"):
        parse_cohort(tmp_path)
    touch(tmp_path, "a/1.png")
    with pytest.raises(CohortError, match="no columns"):
        parse_cohort(tmp_path, Columns(by="size"))
