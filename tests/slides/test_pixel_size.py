"""A pixel size that is set once is known from then on, in window, command and Python alike."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_zoommil.cli import main
from napari_zoommil.errors import FileError
from napari_zoommil.jobs.loading import open_own
from napari_zoommil.slides import Slide, pixel_size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A slide that states no resolution."""
    (tmp_path / "slides").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (600, 700, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "slides" / "skin.tif", pixels, tile=(128, 128))
    return tmp_path / "slides" / "skin.tif"


def test_a_pixel_size_is_remembered_with_the_slide(path: Path, users_folder: Path) -> None:
    with Slide.open(path) as slide:
        assert slide.mpp is None and slide.mpp_set is None
    assert not users_folder.exists(), "opening writes nothing"
    with Slide.open(path) as slide:
        slide.set_mpp((0.25, 0.5), "anna")
        assert slide.mpp == (0.25, 0.5)
    assert os.listdir(path.parent) == ["skin.tif"] and len(os.listdir(users_folder)) == 1
    moved = path.rename(path.with_name("other.tif"))
    with Slide.open(moved) as slide:
        assert slide.mpp == (0.25, 0.5), "known by its pixels, not by its name"
        assert str(slide.mpp_set) == f"0.5 × 0.25 µm/px, set by anna on {date.today().isoformat()}"
    with Slide.open(moved, 0.3) as slide:
        assert slide.mpp == (0.3, 0.3) and slide.mpp_set is None, "what is given counts"
    with Slide.open(moved, icc=True) as slide:
        slide.set_mpp(0.4)
    with Slide.open(moved) as slide:
        assert slide.mpp == (0.4, 0.4) and "by" not in str(slide.mpp_set)


def test_a_folder_that_cannot_be_written_to_is_told(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(pixel_size, "user_data_path", lambda _: tmp_path / "file")
    with Slide.open(path) as slide:
        with pytest.raises(FileError):
            slide.set_mpp(0.5)
        assert slide.mpp == (0.5, 0.5), "it counts for this handle"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda known: "no json",
        lambda known: json.dumps(known | {"mpp": [0.5]}),
        lambda known: json.dumps(known | {"mpp": [-1.0, 900.0]}),
        lambda known: json.dumps(known | {"fingerprint": "of another slide"}),
    ],
)
def test_what_cannot_be_this_slides_is_not_used(
    path: Path, users_folder: Path, spoil: Callable[[dict], str]
) -> None:
    with Slide.open(path) as slide:
        slide.set_mpp(0.5)
    (file,) = users_folder.iterdir()
    file.write_text(spoil(json.loads(file.read_text())))
    with Slide.open(path) as slide:
        assert slide.mpp is None and slide.mpp_set is None


def test_what_a_file_states_is_not_remembered(discs: tuple[Path, np.ndarray]) -> None:
    with Slide.open(discs[0]) as slide:
        slide.set_mpp(0.3)
        assert slide.mpp == (0.3, 0.3)
    with Slide.open(discs[0]) as slide:
        assert slide.mpp == pytest.approx((0.5, 0.5))


def test_jobs_and_commands_use_it_and_say_so(path: Path, capsys) -> None:
    with Slide.open(path) as slide:
        slide.set_mpp(0.5, "anna")
    with pytest.warns(
        UserWarning, match=r"skin\.tif: 0\.5 µm/px, set by anna on .*; another one can be given"
    ):
        open_own(path, None).close()
    with pytest.raises(SystemExit) as end:
        main(["info", str(path)])
    assert not end.value.code and "0.5 µm/px, set by anna on" in capsys.readouterr().out
