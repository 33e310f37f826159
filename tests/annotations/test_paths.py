from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from napari_zoommil import files
from napari_zoommil.annotations import (
    Autosave,
    CellClass,
    Points,
    annotations_path,
    autosave,
    current_path,
    paths,
)
from napari_zoommil.errors import FileError
from napari_zoommil.slides import Slide

CLASSES = CellClass("tumour", (0, 114, 178)), CellClass("stroma", (213, 94, 0))


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    assert paths.writable(tmp_path) and not paths.writable(tmp_path / "gone")


def test_a_slide_keeps_its_annotations_beside_it(tmp_path: Path, make_slide: Callable[..., Path]) -> None:
    with Slide.open(make_slide(tmp_path / "a.b.tif", None)) as slide:
        assert annotations_path(slide) == tmp_path / "a.b.points.geojson"


def test_on_a_share_that_cannot_be_written_they_lie_in_the_users_folder(
    tmp_path: Path, make_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "user_data_path", lambda name: tmp_path / name)
    with Slide.open(make_slide(tmp_path / "patient.tif", None)) as slide:
        start = Autosave.open(annotations_path(slide), classes=CLASSES)
        start.points.add((1, 2), 1)
        monkeypatch.setattr(paths, "writable", lambda folder: False)
        path = annotations_path(slide)
        assert path.parent == tmp_path / "napari-zoommil" / "annotations" and "patient" not in str(path.name)
        kept = Autosave.of(slide)
        assert current_path(slide).samefile(start.path), "as long as nothing was changed"
        assert len(kept.points) == 1
        kept.points.add((3, 4), 1)
        assert current_path(slide) == path
        assert len(Points.read(path)) == 2 and len(Points.read(start.path)) == 1
        np.testing.assert_array_equal(Autosave.of(slide).points.coordinates, [[1, 2], [3, 4]])


class Written:
    """What is opened for writing in a folder while it is watched, be it for a moment and without a name."""

    watched: Path | None = None
    names: ClassVar[list[str]] = []

    @classmethod
    def hear(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.watched is None or event != "open" or not isinstance(arguments[0], (str, os.PathLike)):
            return
        path, writes = Path(arguments[0]), arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and path.is_relative_to(cls.watched):
            cls.names.append(path.name)


@pytest.fixture(scope="session")
def audited() -> None:
    """Python has no way to take such a hook away; it does nothing once no folder is watched."""
    sys.addaudithook(Written.hear)


@pytest.fixture
def written(audited: None, tmp_path: Path) -> Iterator[list[str]]:
    Written.watched, Written.names = tmp_path / "slides", []
    yield Written.names
    Written.watched = None


def test_looking_at_a_slide_makes_no_file_not_even_for_a_moment(
    tmp_path: Path, make_slide: Callable[..., Path], written: list[str]
) -> None:
    folder = tmp_path / "slides"
    Written.watched = None
    folder.mkdir()
    path = make_slide(folder / "a.tif", None)
    Written.watched = folder
    with Slide.open(path) as slide:
        kept = Autosave.of(slide, classes=CLASSES)
        assert current_path(slide) == annotations_path(slide) and not kept.refresh()
        assert written == [] and kept.points.classes == CLASSES
        kept.points.add((1, 1), 1)
        assert any(one.endswith(".part") for one in written), "the hook hears"
        assert sorted(one.suffix for one in folder.iterdir() if one.suffix != ".lock") == [".geojson", ".tif"]
        written.clear()
        assert len(Autosave.of(slide).points) == 1 and written == []


@pytest.mark.parametrize("there", [False, True])
def test_a_share_that_takes_no_file_is_noticed_at_the_first_edit(
    tmp_path: Path, make_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Permissions that allow what the share refuses; what is there can be read."""
    share, real = tmp_path / "share", os.open
    share.mkdir()
    path = make_slide(share / "a.tif", None)
    with Slide.open(path) as slide:
        if there:
            Points(classes=CLASSES).write(annotations_path(slide))
        before = sorted(share.iterdir())

        def refuse(name: Any, flags: int, *more: Any, **others: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR) and Path(name).is_relative_to(share):
                raise PermissionError(13, "the share says no")
            return real(name, flags, *more, **others)

        def refuse_file(path: Path, content: bytes) -> Any:
            if path.is_relative_to(share):
                raise FileError(f"{path.name} cannot be written")
            return files.write_file(path, content)

        monkeypatch.setattr(os, "open", refuse)
        monkeypatch.setattr(autosave, "write_file", refuse_file)
        monkeypatch.setattr(paths, "_refused", set())
        monkeypatch.setattr(paths, "user_data_path", lambda name: tmp_path / name)
        kept = Autosave.of(slide, classes=CLASSES)
        kept.points.add((1, 2), 1)
        assert kept.problem is None and kept.path.parent == tmp_path / "napari-zoommil" / "annotations"
        assert len(Points.read(kept.path)) == 1 and sorted(share.iterdir()) == before
        assert current_path(slide) == kept.path
        kept.points.add((3, 4), 1)
        monkeypatch.setattr(paths, "_refused", set())  # another day
        assert len(Autosave.of(slide).points) == 2 and current_path(slide) == kept.path
